"""Calls to AMD's management library (the module `amdsmi`): an error becomes None.

The module comes with ROCm and must match the library's version. Importing it without the library prints and fails, so
it is imported only where AMD's driver exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NOT_AVAILABLE = "N/A"
"""The module's value for a metric that this GPU does not have."""


def value_of(function: str, *arguments: Any) -> Any:
    """Return the result of the module's function; None if it fails or does not exist."""
    import amdsmi

    try:
        read: Callable[..., Any] = getattr(amdsmi, function)
        return read(*arguments)
    except (AttributeError, amdsmi.AmdSmiException):
        return None


def number_of(table: dict[str, Any] | None, *names: str) -> float | None:
    """Return the first of the named entries that is a number."""
    for name in names:
        value = None if table is None else table.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None
