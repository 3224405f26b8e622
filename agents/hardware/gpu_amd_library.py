"""Calls of AMD's management library (the module `amdsmi`): an error is a None, no more.

The module comes with ROCm, and must be of the library's own version. Importing it without the library prints and
fails, so that it is imported only where there is AMD's driver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NOT_AVAILABLE = "N/A"
"""What the module says for a figure that this GPU has not."""


def value_of(function: str, *arguments: Any) -> Any:
    """Return what the module's function says, or None where it says an error or has no such function."""
    import amdsmi

    try:
        read: Callable[..., Any] = getattr(amdsmi, function)
        return read(*arguments)
    except (AttributeError, amdsmi.AmdSmiException):
        return None


def number_of(table: dict[str, Any] | None, *names: str) -> float | None:
    """Return the first of the table's figures that is a number."""
    for name in names:
        value = None if table is None else table.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None
