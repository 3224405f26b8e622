"""The messages of one topic that were delivered but not taken yet.

Faust delivers all topics in one loop, so a full queue would stop them all. This queue is therefore never full. While
much is waiting, a partition whose next message arrives is *held*: Faust stops delivering it, and the others continue.

"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from mode.utils.queues import FlowControlEvent, ThrowableQueue

MAX_WAITING = 4_000
"""Waiting messages of a topic above which partitions are held. Each partition may exceed it by one poll."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Total size of waiting messages above which partitions are held."""
RELEASE_BELOW = 0.4
"""Held partitions are released once no more than this fraction of the limits is waiting."""


class WaitingMessages(ThrowableQueue[Any]):
    """A topic's queue of `Fetched`, which tracks how many messages of which size and partitions are in it."""

    def __init__(self, flow_control: FlowControlEvent, clear_on_resume: bool) -> None:
        super().__init__(0, flow_control=flow_control, clear_on_resume=clear_on_resume)
        self.waiting = self.waiting_bytes = 0
        self._partitions: Counter[Any] = Counter()

    def holds(self, tp: Any) -> bool:
        """Whether messages of this partition are waiting here, or were taken from here but not read yet."""
        return self._partitions[tp] > 0

    def read(self, tp: Any) -> None:
        """Note that a `Fetched` of this partition was read."""
        if self._partitions[tp]:
            self._partitions[tp] -= 1

    def in_pressure_high_state(self, callback: Callable[[], None]) -> bool:
        """Whether the message's partition must be held from now on; `callback` releases it."""
        if self._fill() < 1:
            return False
        self._pending_pressure_drop_callbacks.add(callback)
        return True

    def maybe_endorse_pressure_drop(self) -> None:
        """Release the held partitions once enough messages were taken."""
        if self._pending_pressure_drop_callbacks and self._fill() <= RELEASE_BELOW:
            self._release()

    def clear(self) -> None:
        """Forget the waiting messages: they are delivered again after a rebalance."""
        super().clear()
        self.waiting = self.waiting_bytes = 0
        self._partitions.clear()
        self._release()

    def _release(self) -> None:
        for release in self._pending_pressure_drop_callbacks:
            release()
        self._pending_pressure_drop_callbacks.clear()

    def _fill(self) -> float:
        return max(self.waiting / MAX_WAITING, self.waiting_bytes / MAX_WAITING_BYTES)

    def _put(self, event: Any) -> None:
        records, size_bytes = event.message.value
        self.waiting += len(records)
        self.waiting_bytes += size_bytes
        self._partitions[event.message.tp] += 1
        super()._put(event)

    def _get(self) -> Any:
        event = super()._get()
        records, size_bytes = event.message.value
        self.waiting -= len(records)
        self.waiting_bytes -= size_bytes
        return event
