"""The rejected message: a message that could not be used, why, and its source."""

from __future__ import annotations

import msgspec

VERSION = 1


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A message of `topic`, `partition`, `offset` that was counted as rejected.

    A worker that re-reads a chunk after a crash sends it again: its source identifies duplicates.
    `value` is the message itself, in base64, truncated after 64 KiB (`value_bytes` is its full size).
    """

    version: int = VERSION
    topic: str
    partition: int
    offset: int
    append_time_ms: int
    reason: str
    detail: str
    value: bytes
    value_bytes: int
