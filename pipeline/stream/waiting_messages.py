"""The messages of one topic that were delivered and are not taken yet.

Faust delivers all topics in one loop: a queue without room stops them all. So there is always room here, and while
much waits, Faust is told to hand over no more of the partitions that it comes from: they alone wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mode.utils.queues import FlowControlEvent, ThrowableQueue

MAX_WAITING = 4_000
"""Messages of a topic that wait; what came with them in one poll waits too."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""What wait of it may weigh: packed, thousands of 4 MiB cost nothing."""
ROOM_AGAIN = 0.4
"""A partition is handed over again when no more than this part of the bounds waits."""


class WaitingMessages(ThrowableQueue[Any]):
    """A topic's queue, which knows what its messages weigh."""

    def __init__(self, flow_control: FlowControlEvent, clear_on_resume: bool) -> None:
        super().__init__(0, flow_control=flow_control, clear_on_resume=clear_on_resume)
        self.waiting_bytes = 0

    def in_pressure_high_state(self, callback: Callable[[], None]) -> bool:
        """Return whether the message's partition is to wait from now on; `callback` lets it go on."""
        pending = self._pending_pressure_drop_callbacks
        if self._fill() < 1 or callback in pending:
            return False
        pending.add(callback)
        return True

    def maybe_endorse_pressure_drop(self) -> None:
        """Let the partitions go on when there is room."""
        if self._pending_pressure_drop_callbacks and self._fill() <= ROOM_AGAIN:
            self._go_on()

    def clear(self) -> None:
        """Forget what waits: it is delivered anew after a rebalance."""
        super().clear()
        self.waiting_bytes = 0
        self._go_on()

    def _go_on(self) -> None:
        for go_on in self._pending_pressure_drop_callbacks:
            go_on()
        self._pending_pressure_drop_callbacks.clear()

    def _fill(self) -> float:
        return max(self.qsize() / MAX_WAITING, self.waiting_bytes / MAX_WAITING_BYTES)

    def _put(self, event: Any) -> None:
        self.waiting_bytes += len(event.value or b"")
        super()._put(event)

    def _get(self) -> Any:
        event = super()._get()
        self.waiting_bytes -= len(event.value or b"")
        return event
