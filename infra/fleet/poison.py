"""Unusable messages for the requests topic, each with the reason for which it should be rejected. Pure."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from endpoint_analytics.schemas.codec import encode_requests
from endpoint_analytics.schemas.limits import MAX_MESSAGE_BYTES
from endpoint_analytics.schemas.requests import RequestBatch

_Members = dict[str, object]
_Change = Callable[[_Members], None]


@dataclass(frozen=True, slots=True)
class Poison:
    """An unusable message: what is wrong with it, and the reason that the worker should report."""

    kind: str
    reason: str
    value: bytes | None


def _set(**members: object) -> _Change:
    return lambda batch: batch.update(members)


def _drop(name: str) -> _Change:
    def change(batch: _Members) -> None:
        del batch[name]

    return change


# How a valid batch is changed, and the resulting reason.
_CHANGES: dict[str, tuple[str, _Change]] = {
    "unequal columns": ("unequal_columns", _set(finished={"at_us": [1, 2], "duration_us": [3], "status": [200, 200]})),
    "negative offset": ("wrong_shape", _set(arrived={"at_us": [-1]})),
    "negative duration": ("wrong_shape", _set(responded={"at_us": [1], "wait_us": [-5], "status": [200]})),
    "float offset": ("wrong_shape", _set(arrived={"at_us": [0.5]})),
    "not an HTTP status": ("wrong_shape", _set(responded={"at_us": [1], "wait_us": [5], "status": [999]})),
    "text for a number": ("wrong_shape", _set(pending="many")),
    "list for an object": ("wrong_shape", _set(arrived=[1, 2, 3])),
    "null seq": ("wrong_shape", _set(seq=None)),
    "seq beyond all bounds": ("wrong_shape", _set(seq=2**63)),
    "no boot": ("wrong_shape", _drop("boot_id")),
    "huge names": ("bad_identity", _set(endpoint="x" * 100_000)),
    "a name with a quote": ("bad_identity", _set(replica_id="'; DROP TABLE boots; --")),
    "an empty name": ("bad_identity", _set(namespace="")),
    "unknown version": ("unknown_version", _set(version=99)),
    "version as text": ("unknown_version", _set(version="1")),
    "an end before the start": ("bad_interval", lambda batch: batch.update(end_us=int(str(batch["start_us"])) - 1)),
    "an offset past the end": ("out_of_interval", _set(arrived={"at_us": [290_000_000]})),
    "more ends than beginnings": (
        "not_conserved",
        _set(pending=0, streaming=0, arrived={"at_us": []}, responded={"at_us": [], "wait_us": [], "status": []},
             finished={"at_us": [0], "duration_us": [1], "status": [200]}),
    ),
    "from another century": ("wrong_shape", _set(start_us=1, end_us=2)),
    "from the day before yesterday": (
        "too_late",
        lambda batch: batch.update(start_us=_moved(batch["start_us"], -200), end_us=_moved(batch["end_us"], -200)),
    ),
    "from the day after tomorrow": (
        "too_early",
        lambda batch: batch.update(start_us=_moved(batch["start_us"], 200), end_us=_moved(batch["end_us"], 200)),
    ),
}  # fmt: skip

# Bytes that are not a JSON object with the expected members.
_RAW: dict[str, tuple[str, bytes | None]] = {
    "null value": ("empty", None),
    "empty value": ("empty", b""),
    "broken JSON": ("not_json", b'{"namespace": "a", '),
    "NaN": ("not_json", b'{"version": 1, "seq": NaN}'),
    "Infinity": ("not_json", b'{"version": 1, "pending": Infinity}'),
    "not UTF-8": ("not_json", b'{"namespace": "\xff\xfe"}'),
    "bytes": ("not_json", bytes(range(256))),
    "deep nesting": ("not_json", b'{"x":' * 100_000),
    "a list": ("wrong_shape", b"[1, 2, 3]"),
    "a number": ("wrong_shape", b"42"),
}

# The resulting reason, and which element of a packed batch is replaced by what.
_PACKED: dict[str, tuple[str, int, object]] = {
    "packed: unknown version": ("unknown_version", 0, 99),
    "packed: a number as name": ("wrong_shape", 1, 7),
    "packed: a name with a quote": ("bad_identity", 3, "'; DROP TABLE boots; --"),
    "packed: rows cut off": ("wrong_shape", 11, b"\x01\x31\x09\0\0\0\0\x05"),
    "packed: millions of rows": ("too_many_events", 11, b"\x01\x31\xff\xff\xff\0\0"),
    "packed: totals cut off": ("wrong_shape", 12, b"\xff"),
}  # fmt: skip

KINDS = (*_CHANGES, *_RAW, *_PACKED)
TOO_LARGE = "over the message size limit"
"""A separate kind, because its message is larger than 4 MiB."""


def poison(kind: str, batch: RequestBatch) -> Poison:
    """Return a message of `kind` made from a valid batch, with its own boot_id so that the two are never confused."""
    if kind == TOO_LARGE:
        return Poison(kind, "too_large", b" " * (MAX_MESSAGE_BYTES + 1))
    if kind in _RAW:
        reason, value = _RAW[kind]
        return Poison(kind, reason, value)
    # If it were counted by mistake, it would show up as a boot that no agent has reported.
    batch = msgspec.structs.replace(batch, boot_id=f"poison-{batch.boot_id}")
    if kind in _PACKED:
        reason, index, replacement = _PACKED[kind]
        elements = msgspec.msgpack.decode(encode_requests(batch, "packed"))
        elements[index] = replacement
        return Poison(kind, reason, msgspec.msgpack.encode(elements))
    reason, change = _CHANGES[kind]
    members: _Members = msgspec.to_builtins(batch)
    change(members)
    return Poison(kind, reason, json.dumps(members).encode())


def any_poison(batch: RequestBatch, rng: random.Random) -> Poison:
    """Return a message of a random kind."""
    return poison(rng.choice(KINDS), batch)


def _moved(time_us: object, hours: int) -> int:
    return int(str(time_us)) + hours * 3_600_000_000
