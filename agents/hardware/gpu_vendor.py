"""What all GPU vendors share: the GPU type, and the interface to the driver's library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class NoGpusError(Exception):
    """A vendor's library lists no GPU; the message says why."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU or GPU instance: its handle in the library, and its constant properties."""

    device: str
    handle: Any
    uuid: str
    name: str
    is_instance: bool = False
    has_instances: bool = False


class Vendor(Protocol):
    """One vendor's library. Only `find` raises; a reading that the library does not have is None."""

    @property
    def name(self) -> str:
        """The vendor's name."""
        ...

    def find(self, known: Mapping[str, str]) -> tuple[Gpu, ...]:
        """Open the library and return the replica's GPUs; `known` are the names given before, by UUID.

        Raises NoGpusError if there are none.
        """
        ...

    def read(self, gpus: Sequence[Gpu]) -> list[dict[str, float | None]]:
        """Return metric -> value for each GPU, in order."""
        ...

    def close(self) -> None:
        """Close the library: existing handles become invalid."""
        ...


def free_name(number: int, taken: set[str]) -> str:
    """Return `gpu<number>`, or the next higher number that is free."""
    while f"gpu{number}" in taken:
        number += 1
    return f"gpu{number}"
