"""The rejected message: what could not be used, why, and where it came from."""

from __future__ import annotations

import msgspec

VERSION = 1


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A message of `topic`, `partition`, `offset` that was counted as rejected.

    A worker that reads its chunk again after a crash sends it again: the source tells the doubles.
    `value` is the message itself, base64, cut after 64 KiB (`value_bytes` is its whole size).
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
