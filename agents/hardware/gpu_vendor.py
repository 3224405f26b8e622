"""What every vendor's GPUs have in common: what a GPU is, and what is asked of its driver's library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class NoGpusError(Exception):
    """Why a vendor's library shows no GPU, for people."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that answers, or an instance cut from it: its handle in the library, and what does not change."""

    device: str
    handle: Any
    uuid: str
    name: str
    is_instance: bool = False
    has_instances: bool = False


class Vendor(Protocol):
    """One vendor's library. Only `find` raises; where the library does not tell, a reading is None."""

    @property
    def name(self) -> str:
        """Whose GPUs these are."""
        ...

    def find(self, known: Mapping[str, str]) -> tuple[Gpu, ...]:
        """Open the library and return the replica's GPUs; `known` are names given before, by UUID.

        Raises NoGpusError when there is none.
        """
        ...

    def read(self, gpus: Sequence[Gpu]) -> list[dict[str, float | None]]:
        """Return metric -> value for each GPU, in their order."""
        ...

    def close(self) -> None:
        """Close the library: handles of before mean nothing any more."""
        ...


def free_name(number: int, taken: set[str]) -> str:
    """Return `gpu<number>`, or the first above it that is not taken."""
    while f"gpu{number}" in taken:
        number += 1
    return f"gpu{number}"
