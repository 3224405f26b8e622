"""The packed form of a request batch, version 2: a MessagePack array with its rows as bytes, a quarter of the JSON.

Its elements, in order:

    version        2
    namespace, endpoint, replica_id
    boot_id        16 bytes if it is 32 lowercase hexadecimal digits; else one or two zero bytes and its text, not 16
    seq, start_us, length_us, pending, streaming, oldest_pending_us
    rows           bytes: see `packed_rows`
    totals         bytes: LEB128 numbers: arrived, finished, aborted_pending, aborted_streaming, wait_us, duration_us,
                   then each status and its count
    dropped, dropped_batches    maps from reason to count; absent if both are empty

end_us is start_us + length_us; everything else is as in the JSON form, which is described in `requests`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.limits import MAX_COUNT, MAX_INTERVAL_US, MAX_STATUS, MAX_SUM_US, MIN_STATUS
from endpoint_analytics.schemas.packed_rows import pack_rows, unpack_rows
from endpoint_analytics.schemas.requests import (
    Aborted,
    Arrived,
    Count,
    DropCounts,
    Duration,
    Finished,
    Informational,
    Level,
    RequestBatch,
    Responded,
    TimeUs,
    Totals,
)

PACKED_VERSION = 2

_BOOT_ID_BYTES = 16
_HEX = re.compile(r"[0-9a-f]{32}")
_MAX_TOTALS_BYTES = 8192
_MAX_BITS = 63
_SUMS = 6

IntervalUs = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTERVAL_US, description="microseconds")]


class _Wire(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=PACKED_VERSION):
    namespace: str
    endpoint: str
    replica_id: str
    boot_id: bytes
    seq: Count
    start_us: TimeUs
    length_us: IntervalUs
    pending: Level
    streaming: Level
    oldest_pending_us: Duration
    rows: bytes
    totals: bytes
    dropped: DropCounts = {}
    dropped_batches: DropCounts = {}


class _Head(msgspec.Struct, frozen=True, array_like=True):
    version: msgspec.Raw
    """Its bytes: what follows is passed over."""


class PackedBatch(msgspec.Struct, frozen=True, gc=False):
    """A request batch whose rows are still packed; see RequestBatch for the members."""

    namespace: str
    endpoint: str
    replica_id: str
    boot_id: str
    seq: int
    start_us: int
    end_us: int
    pending: int
    streaming: int
    oldest_pending_us: int
    rows: bytes
    totals: Totals


_PHASES: dict[str, Callable[..., Any]] = {
    "arrived": Arrived,
    "informational": Informational,
    "responded": Responded,
    "finished": Finished,
    "aborted_pending": Aborted,
    "aborted_streaming": Aborted,
}
_decoder = msgspec.msgpack.Decoder(_Wire)
_head_decoder = msgspec.msgpack.Decoder(_Head)
_encoder = msgspec.msgpack.Encoder()


def is_packed(data: bytes) -> bool:
    """Whether a message is a MessagePack array; JSON begins differently."""
    first = data[0] if data else 0
    return 0x90 <= first <= 0x9F or first in {0xDC, 0xDD}


def read_packed_version(data: bytes) -> object:
    """Return the first element of a MessagePack array, its type's name if it is no scalar, None if there is none."""
    try:
        version = msgspec.msgpack.decode(_head_decoder.decode(data).version)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    return version if version is None or isinstance(version, int | str | float) else type(version).__name__


def decode_packed(data: bytes) -> PackedBatch:
    """Return the batch without looking at its rows.

    Raises msgspec.DecodeError, its subclass ValidationError, or InvalidMessageError.
    """
    wire = _decoder.decode(data)
    return PackedBatch(
        wire.namespace,
        wire.endpoint,
        wire.replica_id,
        _unpack_boot_id(wire.boot_id),
        wire.seq,
        wire.start_us,
        wire.start_us + wire.length_us,
        wire.pending,
        wire.streaming,
        wire.oldest_pending_us,
        wire.rows,
        _unpack_totals(wire),
    )


def encode_packed(batch: PackedBatch) -> bytes:
    """Return the batch's bytes; raises OverflowError or UnicodeEncodeError for values that cannot be represented."""
    totals = batch.totals
    numbers = [
        totals.arrived, totals.finished, totals.aborted_pending, totals.aborted_streaming,
        totals.wait_us, totals.duration_us,
    ]  # fmt: skip
    for status, count in totals.status.items():
        numbers += int(status), count
    elements: list[object] = [
        PACKED_VERSION,
        batch.namespace,
        batch.endpoint,
        batch.replica_id,
        _pack_boot_id(batch.boot_id),
        batch.seq,
        batch.start_us,
        batch.end_us - batch.start_us,
        batch.pending,
        batch.streaming,
        batch.oldest_pending_us,
        batch.rows,
        _pack_numbers(numbers),
    ]
    if totals.dropped or totals.dropped_batches:
        elements += totals.dropped, totals.dropped_batches
    return _encoder.encode(elements)


def pack(batch: RequestBatch) -> PackedBatch:
    """Return the batch with its rows packed."""
    return PackedBatch(
        batch.namespace,
        batch.endpoint,
        batch.replica_id,
        batch.boot_id,
        batch.seq,
        batch.start_us,
        batch.end_us,
        batch.pending,
        batch.streaming,
        batch.oldest_pending_us,
        pack_rows(batch),
        batch.totals,
    )


def unpack(batch: PackedBatch) -> RequestBatch:
    """Return the batch with its rows in order of time; raises InvalidMessageError if they are not as described."""
    phases = {
        name: phase(*columns)
        for (name, phase), columns in zip(_PHASES.items(), unpack_rows(batch.rows), strict=True)
        if columns[0]
    }
    if batch.totals != Totals():
        phases["totals"] = batch.totals
    return RequestBatch(
        namespace=batch.namespace,
        endpoint=batch.endpoint,
        replica_id=batch.replica_id,
        boot_id=batch.boot_id,
        seq=batch.seq,
        start_us=batch.start_us,
        end_us=batch.end_us,
        pending=batch.pending,
        streaming=batch.streaming,
        oldest_pending_us=batch.oldest_pending_us,
        **phases,
    )


def _pack_boot_id(boot_id: str) -> bytes:
    if _HEX.fullmatch(boot_id):
        return bytes.fromhex(boot_id)
    text = b"\0" + boot_id.encode()
    return b"\0" + text if len(text) == _BOOT_ID_BYTES else text


def _unpack_boot_id(packed: bytes) -> str:
    if len(packed) == _BOOT_ID_BYTES:
        return packed.hex()
    if packed[:1] != b"\0":
        raise InvalidMessageError(
            "wrong_shape",
            f"boot_id has {len(packed)} bytes; expected {_BOOT_ID_BYTES}, or zero bytes and text",
        )
    try:
        return packed.lstrip(b"\0").decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidMessageError("bad_identity", f"boot_id is not ASCII: {error}") from error


def _pack_numbers(numbers: Sequence[int]) -> bytes:
    packed = bytearray()
    for number in numbers:
        left = number
        while left > 0x7F:
            packed.append(left & 0x7F | 0x80)
            left >>= 7
        packed.append(left)
    return bytes(packed)


def _unpack_totals(wire: _Wire) -> Totals:
    numbers = _unpack_numbers(wire.totals)
    if len(numbers) < _SUMS or len(numbers) % 2:
        raise InvalidMessageError("wrong_shape", f"totals are {len(numbers)} numbers; expected 6, 8, 10 ...")
    pairs = iter(numbers[_SUMS:])
    status = {_status_name(code): count for code, count in zip(pairs, pairs, strict=True)}
    if max(numbers) > MAX_COUNT:
        _check_sums(numbers)
    arrived, finished, aborted_pending, aborted_streaming, wait_us, duration_us = numbers[:_SUMS]
    return Totals(
        arrived, finished, aborted_pending, aborted_streaming, status, wait_us, duration_us,
        wire.dropped, wire.dropped_batches,
    )  # fmt: skip


def _check_sums(numbers: Sequence[int]) -> None:
    """Raise InvalidMessageError if one is out of range: counts, or the sums of durations."""
    if max(*numbers[:4], *numbers[_SUMS:]) > MAX_COUNT or max(numbers[4:_SUMS]) > MAX_SUM_US:
        raise InvalidMessageError("wrong_shape", f"totals are out of range: {numbers}")


def _unpack_numbers(packed: bytes) -> list[int]:
    """Return LEB128 numbers of at most 63 bits; written for speed."""
    if len(packed) > _MAX_TOTALS_BYTES:
        raise InvalidMessageError(
            "wrong_shape", f"totals have {len(packed)} bytes; the limit is {_MAX_TOTALS_BYTES}"
        )
    numbers: list[int] = []
    add = numbers.append
    number = shift = 0
    for octet in packed:
        if octet < 0x80:
            if shift:
                add(number | octet << shift)
                number = shift = 0
            else:
                add(octet)
        else:
            number |= (octet & 0x7F) << shift
            shift += 7
            if shift >= _MAX_BITS:
                raise InvalidMessageError("wrong_shape", "totals have a number of more than 63 bits")
    if shift:
        raise InvalidMessageError("wrong_shape", "totals end within a number")
    return numbers


@lru_cache(maxsize=512)
def _status_name(status: int) -> str:
    if not MIN_STATUS <= status <= MAX_STATUS:
        raise InvalidMessageError(
            "wrong_shape", f"a status of the totals is {status}; expected {MIN_STATUS} to {MAX_STATUS}"
        )
    return str(status)
