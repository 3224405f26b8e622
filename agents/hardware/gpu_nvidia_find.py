"""Finds the replica's NVIDIA GPUs and their MIG instances, and gives each a stable name.

A MIG instance is a separate device, `gpu0.mig1`, next to its GPU: memory is the instance's; power, temperature, clocks
and errors are the whole GPU's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from endpoint_analytics.agents.hardware.gpu_nvidia_library import text_of, value_of
from endpoint_analytics.agents.hardware.gpu_vendor import Gpu, free_name
from endpoint_analytics.agents.hardware.gpu_visible import VARIABLE, names_mig, parse_visible
from endpoint_analytics.schemas.limits import MAX_DEVICES

logger = logging.getLogger("endpoint_analytics")


def find_gpus(environment: Mapping[str, str], known: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Return the replica's GPUs; `known` are the names given before, by UUID. The library must be initialized.

    Raises pynvml.NVMLError if the driver does not return the number of GPUs.
    """
    import pynvml

    handles = []
    for index in range(int(pynvml.nvmlDeviceGetCount())):
        try:
            handles.append(pynvml.nvmlDeviceGetHandleByIndex(index))
        except pynvml.NVMLError as error:
            logger.warning("no metrics for the NVIDIA driver's GPU %d: %s", index, error)
            handles.append(None)
    uuids = [text_of("nvmlDeviceGetUUID", handle) if handle else "" for handle in handles]
    visible, instances = environment.get(VARIABLE), names_mig(environment.get(VARIABLE))
    chosen = range(len(handles)) if instances else parse_visible(visible, uuids)
    found: list[Gpu] = []
    for number, position in enumerate(chosen):
        handle, uuid = handles[position], uuids[position]
        if handle is None:
            continue
        device = known.get(uuid) or free_name(number, {*known.values(), *(gpu.device for gpu in found)})
        inside = list(_find_instances(handle, device, instances))
        if instances and not inside:
            continue
        name = text_of("nvmlDeviceGetName", handle)
        found += [Gpu(device, handle, uuid, name, has_instances=bool(inside)), *inside]
    return tuple(found[:MAX_DEVICES])


def _find_instances(handle: Any, device: str, named: tuple[str, ...]) -> Iterator[Gpu]:
    mode = value_of("nvmlDeviceGetMigMode", handle)
    if not mode or mode[0] != 1:
        return
    for index in range(value_of("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        instance = value_of("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        if instance is None:  # an empty slot
            continue
        uuid = text_of("nvmlDeviceGetUUID", instance)
        if not named or any(uuid.startswith(name) for name in named):
            name = text_of("nvmlDeviceGetName", instance)
            yield Gpu(f"{device}.mig{index}", instance, uuid, name, is_instance=True)
