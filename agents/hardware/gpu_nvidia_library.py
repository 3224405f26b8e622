"""Calls to NVIDIA's management library (the module `pynvml` of nvidia-ml-py): an error becomes None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from endpoint_analytics.schemas.limits import MAX_NAME_LENGTH


def value_of(function: str, *arguments: Any) -> Any:
    """Return the result of the library's function; None if it fails or does not exist."""
    import pynvml

    try:
        read: Callable[..., Any] = getattr(pynvml, function)
        return read(*arguments)
    except (AttributeError, pynvml.NVMLError):
        return None


def text_of(function: str, *arguments: Any) -> str:
    """Return the function's result as text; empty if it fails."""
    value = value_of(function, *arguments)
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
    return text[:MAX_NAME_LENGTH]
