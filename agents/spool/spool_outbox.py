"""What a spooled topic sender holds in memory: numbered messages, in order, bounded like the plain outbox. Pure.

Messages stay until they are on disk or in Kafka. On overflow the oldest message that is not being written or sent is
dropped: one that is may still arrive, and must not be counted as dropped.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile

from endpoint_analytics.agents.spool.segments import Numbered


@dataclass(slots=True)
class SpoolOutbox:
    """At most `max_messages` messages and `max_bytes` bytes; `dropped` counts dropped messages by reason.

    Messages up to the numbers `writing_through` and `sending_through` are being written and sent.
    """

    max_messages: int
    max_bytes: int
    size_bytes: int = 0
    last_number: int = 0
    writing_through: int = 0
    sending_through: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    _messages: deque[Numbered] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: bytes) -> int:
        """Add a message and return its number; drops messages (counted as `buffer_full`) while over the bounds."""
        self.last_number += 1
        self._messages.append(Numbered(self.last_number, message))
        self.size_bytes += len(message)
        while len(self._messages) > self.max_messages or self.size_bytes > self.max_bytes:
            self._drop_one()
        return self.last_number

    def after(self, number: int) -> list[Numbered]:
        """Return the messages after `number`."""
        return [item for item in self._messages if item.number > number]

    def group_after(self, number: int, max_messages: int, max_bytes: int) -> list[Numbered]:
        """Return the next messages, within the bounds, but at least one if there are any."""
        return first_group(self.after(number), max_messages, max_bytes)

    def forget(self, through: int) -> None:
        """Remove the messages up to `through`: they are safe elsewhere."""
        while self._messages and self._messages[0].number <= through:
            self.size_bytes -= len(self._messages.popleft().message)

    def count_dropped(self, reason: str, number: int = 1) -> None:
        """Count messages as dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + number

    def _drop_one(self) -> None:
        held_through = max(self.writing_through, self.sending_through)
        held = sum(1 for _ in takewhile(lambda item: item.number <= held_through, self._messages))
        self.size_bytes -= len(self._messages[held].message)  # the newest is never being written or sent
        del self._messages[held]
        self.count_dropped("buffer_full")


def first_group(items: list[Numbered], max_messages: int, max_bytes: int) -> list[Numbered]:
    """Return the first items within the bounds, but at least one if there are any."""
    total = 0
    for index, item in enumerate(items[:max_messages]):
        total += len(item.message)
        if index and total > max_bytes:
            return items[:index]
    return items[:max_messages]
