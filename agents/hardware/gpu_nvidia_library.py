"""Calls of the NVIDIA management library (the module `pynvml` of nvidia-ml-py): an error is a None, no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from endpoint_analytics.schemas.limits import MAX_NAME_LENGTH


def value_of(function: str, *arguments: Any) -> Any:
    """Return what the library's function says, or None where it says an error or has no such function."""
    import pynvml

    try:
        read: Callable[..., Any] = getattr(pynvml, function)
        return read(*arguments)
    except (AttributeError, pynvml.NVMLError):
        return None


def text_of(function: str, *arguments: Any) -> str:
    """Return the text that the function says, empty where it says an error."""
    value = value_of(function, *arguments)
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
    return text[:MAX_NAME_LENGTH]
