"""Which of the driver's GPUs belong to the replica: interprets CUDA_VISIBLE_DEVICES as CUDA does. Pure.

docs.nvidia.com/cuda/cuda-c-programming-guide, "CUDA Environment Variables". ROCm's variables work the same way.
NVIDIA_VISIBLE_DEVICES is ignored: the container runtime has already applied it, and the driver shows what the container
got. Its value `void` hides nothing: containers that get GPUs through the Container Device Interface have it too.
"""

from __future__ import annotations

from collections.abc import Sequence

VARIABLE = "CUDA_VISIBLE_DEVICES"


def parse_visible(text: str | None, uuids: Sequence[str]) -> tuple[int, ...]:
    """Return the positions in `uuids` (the driver's order) of the visible GPUs, in CUDA's numbering order.

    Without the variable all are visible. An entry is a number or a UUID prefix; the first one that matches nothing ends
    the list, so an empty text or `-1` hides all. Numbers follow the driver's order, which is CUDA's with
    CUDA_DEVICE_ORDER=PCI_BUS_ID and whenever all GPUs are the same model. A GPU that is named twice makes the list
    invalid: none is visible. A MIG instance is named `MIG-...` (see `names_mig`).
    """
    if text is None:
        return tuple(range(len(uuids)))
    found: list[int] = []
    for entry in text.split(","):
        position = _position(entry.strip(), uuids)
        if position is None:
            break
        if position in found:
            return ()
        found.append(position)
    return tuple(found)


def names_mig(text: str | None) -> tuple[str, ...]:
    """Return the MIG instances that the variable names; none if it names whole GPUs."""
    entries = [entry.strip() for entry in (text or "").split(",")]
    return tuple(entry for entry in entries if entry.startswith("MIG-"))


def _position(entry: str, uuids: Sequence[str]) -> int | None:
    if entry.isascii() and entry.isdigit():
        return int(entry) if int(entry) < len(uuids) else None
    if not entry.startswith("GPU-"):
        return None
    fitting = [position for position, uuid in enumerate(uuids) if uuid.startswith(entry)]
    return fitting[0] if len(fitting) == 1 else None
