"""Keeps the middleware's own failures away from the application: they are logged, and the response stays the same.

Code on the request path is either wrapped in `harmless`, or catches exceptions itself and reports them here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

logger = logging.getLogger("endpoint_analytics")

LOG_EVERY_S = 60.0
_logged_s = [-LOG_EVERY_S]


class GivesUp(Protocol):
    """Records one request."""

    def give_up(self, error: Exception) -> None:
        """Stop recording it; raises nothing."""


Recording = TypeVar("Recording", bound=GivesUp)
Parameters = ParamSpec("Parameters")


def harmless(
    method: Callable[Concatenate[Recording, Parameters], None],
) -> Callable[Concatenate[Recording, Parameters], None]:
    """Wrap the method so that it raises nothing: on an exception, its object gives up instead."""

    @wraps(method)
    def guarded(recording: Recording, /, *arguments: Parameters.args, **named: Parameters.kwargs) -> None:
        try:
            method(recording, *arguments, **named)
        except Exception as error:  # noqa: BLE001  # any bug of the middleware
            recording.give_up(error)

    return guarded


def report_bug(error: Exception) -> None:
    """Log, at most once a minute, that a request or its details could not be recorded; raises nothing."""
    with suppress(Exception):
        now_s = time.monotonic()
        if now_s - _logged_s[0] >= LOG_EVERY_S:
            _logged_s[0] = now_s
            logger.error(
                "a request is NOT recorded, or without its details: a bug in the agent; the response is not affected",
                exc_info=error,
            )
