"""What goes wrong in our code stays ours: the application's answer is the same, and the log says it.

What is on a request's path is either made `harmless` or catches by itself, and reports here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

logger = logging.getLogger("endpoint_analytics")

SAY_EVERY_S = 60.0
_said_s = [-SAY_EVERY_S]


class GivesUp(Protocol):
    """What records one request."""

    def give_up(self, error: Exception) -> None:
        """Record no more of it; raises nothing."""


Recording = TypeVar("Recording", bound=GivesUp)
Parameters = ParamSpec("Parameters")


def harmless(
    method: Callable[Concatenate[Recording, Parameters], None],
) -> Callable[Concatenate[Recording, Parameters], None]:
    """Return the method so that it raises nothing: what it would raise makes its object give up."""

    @wraps(method)
    def guarded(recording: Recording, /, *arguments: Parameters.args, **named: Parameters.kwargs) -> None:
        try:
            method(recording, *arguments, **named)
        except Exception as error:  # noqa: BLE001  # ours, whatever it is
            recording.give_up(error)

    return guarded


def report_bug(error: Exception) -> None:
    """Say, once a minute at most, that a request could not be recorded; raises nothing."""
    with suppress(Exception):
        now_s = time.monotonic()
        if now_s - _said_s[0] >= SAY_EVERY_S:
            _said_s[0] = now_s
            logger.error(
                "a request is NOT recorded: a fault of the middleware, the answer goes on", exc_info=error
            )
