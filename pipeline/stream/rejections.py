"""When too much of a topic cannot be used: then something is wrong with us or with all senders, and we stop.

A pure rule on counts. A few bad senders are rejected and counted for as long as they like.
"""

from __future__ import annotations

SPAN_MESSAGES = 2_000
"""Messages over which the share is taken."""


class TooManyRejectedError(Exception):
    """Nearly all messages of a topic were rejected; the message says which topic and how to go on."""


class RejectionLimit:
    """Counts one topic's messages; a `max_share` of 1 never stops."""

    def __init__(self, topic: str, max_share: float) -> None:
        self._topic = topic
        self._max_share = max_share
        self._messages = 0
        self._rejected = 0

    def count(self, messages: int, rejected: int) -> None:
        """Count a read; raises TooManyRejectedError."""
        self._messages += messages
        self._rejected += rejected
        if self._messages < SPAN_MESSAGES:
            return
        share = self._rejected / self._messages
        if share > self._max_share:
            raise TooManyRejectedError(
                f"{self._rejected} of the last {self._messages} messages of {self._topic} were rejected: "
                "are its senders newer than this worker? The reasons are in the table `rejected`. Nothing is "
                "lost: these messages are read again. To go on rejecting, start with --max-rejected-share 1"
            )
        self._messages = self._rejected = 0
