"""The outbox: encoded messages waiting for Kafka, in order, bounded in number and in bytes.

Pure; used by one thread. On overflow the oldest message is dropped and counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Outbox:
    """A first-in first-out queue of at most `max_messages` messages and `max_bytes` bytes.

    `dropped` counts dropped messages by reason.
    """

    max_messages: int
    max_bytes: int
    size_bytes: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    _messages: deque[bytes] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: bytes) -> None:
        """Add a message; drops the oldest ones (counted as `buffer_full`) while over the bounds."""
        self._messages.append(message)
        self.size_bytes += len(message)
        while self._messages and (
            len(self._messages) > self.max_messages or self.size_bytes > self.max_bytes
        ):
            self.size_bytes -= len(self._messages.popleft())
            self.count_dropped("buffer_full")

    def take(self) -> bytes:
        """Remove and return the oldest message; raises IndexError when empty."""
        message = self._messages.popleft()
        self.size_bytes -= len(message)
        return message

    def count_dropped(self, reason: str) -> None:
        """Count one message as dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
