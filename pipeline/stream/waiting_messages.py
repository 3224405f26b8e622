"""The messages of one topic that were delivered and are not taken yet.

Faust delivers all topics in one loop: a queue without room stops them all. So there is always room here. While much
waits, a partition whose next message comes is *held*: Faust hands over no more of it, and the others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from mode.utils.queues import FlowControlEvent, ThrowableQueue

MAX_WAITING = 4_000
"""Messages of a topic that wait before partitions are held. Each of them has one poll more of its own here."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""What these may weigh."""
ROOM_AGAIN = 0.4
"""Held partitions are handed over again when no more than this part of the bounds waits."""


class WaitingMessages(ThrowableQueue[Any]):
    """A topic's queue, which knows what its messages weigh and of which partitions they are."""

    def __init__(self, flow_control: FlowControlEvent, clear_on_resume: bool) -> None:
        super().__init__(0, flow_control=flow_control, clear_on_resume=clear_on_resume)
        self.waiting_bytes = 0
        self._partitions: Counter[Any] = Counter()

    def holds(self, tp: Any) -> bool:
        """Return whether messages of this partition wait here, or were taken from here and not read yet."""
        return self._partitions[tp] > 0

    def read(self, tp: Any) -> None:
        """Note that a message of this partition is read now."""
        if self._partitions[tp]:
            self._partitions[tp] -= 1

    def in_pressure_high_state(self, callback: Callable[[], None]) -> bool:
        """Return whether the message's partition is to be held from now on; `callback` lets it go on."""
        if self._fill() < 1:
            return False
        self._pending_pressure_drop_callbacks.add(callback)
        return True

    def maybe_endorse_pressure_drop(self) -> None:
        """Let the partitions go on when there is room."""
        if self._pending_pressure_drop_callbacks and self._fill() <= ROOM_AGAIN:
            self._go_on()

    def clear(self) -> None:
        """Forget what waits: it is delivered anew after a rebalance."""
        super().clear()
        self.waiting_bytes = 0
        self._partitions.clear()
        self._go_on()

    def _go_on(self) -> None:
        for go_on in self._pending_pressure_drop_callbacks:
            go_on()
        self._pending_pressure_drop_callbacks.clear()

    def _fill(self) -> float:
        return max(self.qsize() / MAX_WAITING, self.waiting_bytes / MAX_WAITING_BYTES)

    def _put(self, event: Any) -> None:
        self.waiting_bytes += _weight(event.message)
        self._partitions[event.message.tp] += 1
        super()._put(event)

    def _get(self) -> Any:
        event = super()._get()
        self.waiting_bytes -= _weight(event.message)
        return event


def _weight(message: Any) -> int:
    weight = len(message.value or b"") + len(message.key or b"")
    return weight + sum(len(name) + len(value or b"") for name, value in message.headers or ())
