"""The lifecycle of a launched server: initializing, running, draining, terminated or failed.

Turns server events into replica states; the command (run_command) handles signals, processes and clocks.
"""

from __future__ import annotations

from collections.abc import Callable

from endpoint_analytics.agents.run.child import ENDING, failed, reason_of
from endpoint_analytics.schemas.replicas import State

Enter = Callable[[State, str], object]


class ChildLife:
    """Calls `enter(state, reason)` for each state; `ready_within_s` bounds the time until the server is ready."""

    def __init__(self, enter: Enter, ready_within_s: float) -> None:
        self._enter = enter
        self._ready_within_s = ready_within_s
        self._is_late = False
        self.is_ready = False
        self.asked_to_end = False

    def ready(self) -> None:
        """The server is ready; if it was reported as failed for being late, it enters initializing again first."""
        if self.is_ready or self.asked_to_end:
            return
        self.is_ready = True
        if self._is_late:
            self._enter("initializing", "ready after all")
        self._enter("running", "")

    def waited(self, waited_s: float, why: str) -> None:
        """The server is still not ready after `waited_s`, because of `why`; past the limit, the replica has failed."""
        if waited_s >= self._ready_within_s and not (self._is_late or self.is_ready or self.asked_to_end):
            self._is_late = True
            self._enter("failed", f"not ready within {self._ready_within_s:g} s: {why}")

    def signalled(self, number: int) -> None:
        """The launcher got a signal, which it forwards to the server."""
        if number in ENDING and not self.asked_to_end:
            self.asked_to_end = True
            self._enter("draining", "")

    def ended(self, status: int, out_of_memory: bool | None = None) -> None:
        """The server has ended; a negative status is a signal's number; `out_of_memory`: whether the OOM killer ran,
        None if unknown.
        """
        state: State = "failed" if failed(status, self.asked_to_end) else "terminated"
        self._enter(state, reason_of(status, out_of_memory))
