"""Converts between bytes and messages; an invalid message always raises InvalidMessageError.

Every message is JSON on the wire, or, if it is a request batch, packed (see `packed_requests`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Literal, TypeVar

import msgspec
import orjson

from endpoint_analytics.schemas.engine import EngineBatch
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.hardware import HardwareBatch
from endpoint_analytics.schemas.identity import check_identity, check_name
from endpoint_analytics.schemas.limits import (
    MAX_DEVICES,
    MAX_EVENTS,
    MAX_INTERVAL_US,
    MAX_MESSAGE_BYTES,
    MAX_OUTCOMES,
)
from endpoint_analytics.schemas.outcomes import INPUT_CLASSES, NULLABLE, OutcomeBatch
from endpoint_analytics.schemas.packed_requests import (
    PACKED_VERSION,
    PackedBatch,
    decode_packed,
    encode_packed,
    is_packed,
    pack,
    read_packed_version,
    unpack,
)
from endpoint_analytics.schemas.rejected import Rejected
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaMessage, ReplicaState
from endpoint_analytics.schemas.requests import RequestBatch
from endpoint_analytics.schemas.samples import SampleBatch
from endpoint_analytics.schemas.signals import AutoscalingSignal

Message = TypeVar("Message")
RequestEncoding = Literal["packed", "json"]


_requests = msgspec.json.Decoder(RequestBatch)
_hardware = msgspec.json.Decoder(HardwareBatch)
_rejected = msgspec.json.Decoder(Rejected)
_signals = msgspec.json.Decoder(AutoscalingSignal)
_engine = msgspec.json.Decoder(EngineBatch)
_outcomes = msgspec.json.Decoder(OutcomeBatch)
_replicas: msgspec.json.Decoder[ReplicaMessage] = msgspec.json.Decoder(ReplicaState | EndpointSettings)


def encode(
    message: RequestBatch | OutcomeBatch | SampleBatch | ReplicaMessage | Rejected | AutoscalingSignal,
) -> bytes:
    """Return the message as compact JSON; raises InvalidMessageError for values that JSON cannot represent."""
    try:
        return msgspec.json.encode(message)
    except (UnicodeEncodeError, OverflowError) as error:
        raise InvalidMessageError("not_json", str(error)) from error


def encode_requests(batch: RequestBatch, encoding: RequestEncoding) -> bytes:
    """Return a request batch as JSON or packed; raises InvalidMessageError as `encode` does."""
    if encoding == "json":
        return encode(batch)
    try:
        return encode_packed(pack(batch))
    except (ValueError, OverflowError) as error:
        raise InvalidMessageError("wrong_shape", str(error)) from error


def decode_requests(data: bytes | None) -> RequestBatch:
    """Decode a request batch of either form; raises InvalidMessageError.

    Whether offsets are within the interval and counts are conserved is checked where the columns are folded
    (pipeline.core), for all batches at once.
    """
    batch = decode_request_form(data)
    return unpack(batch) if isinstance(batch, PackedBatch) else batch


def decode_request_form(data: bytes | None) -> RequestBatch | PackedBatch:
    """Decode a request batch of either form, and leave the rows of a packed one as they are."""
    if data and is_packed(data):
        return _decode_packed(data)
    batch = _decode(_requests, data)
    check_identity(batch.namespace, batch.endpoint, batch.replica_id, batch.boot_id)
    _check_interval(batch.start_us, batch.end_us)
    _check_columns(batch)
    # An event takes two bytes or more.
    if len(data or b"") > MAX_EVENTS and batch.events > MAX_EVENTS:
        raise InvalidMessageError(
            "too_many_events", f"{batch.events} events; the limit per batch is {MAX_EVENTS}"
        )
    return batch


def _decode_packed(data: bytes) -> PackedBatch:
    _check_size(data)
    try:
        batch = decode_packed(data)
    except msgspec.ValidationError as error:
        raise _invalid(error, read_packed_version(data), PACKED_VERSION) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessageError("wrong_shape", f"it is not MessagePack: {error}") from error
    check_identity(batch.namespace, batch.endpoint, batch.replica_id, batch.boot_id)
    _check_interval(batch.start_us, batch.end_us)
    return batch


def decode_hardware(data: bytes | None) -> HardwareBatch:
    """Decode a hardware batch; raises InvalidMessageError."""
    batch = _decode(_hardware, data)
    _check_samples(batch)
    if len(batch.accelerators) > MAX_DEVICES:
        raise InvalidMessageError(
            "wrong_shape", f"{len(batch.accelerators)} accelerators; the limit per batch is {MAX_DEVICES}"
        )
    _check_readings("replica", batch.at_us, batch.replica)
    devices = set[str]()
    for accelerator in batch.accelerators:
        if accelerator.device in devices:
            raise InvalidMessageError("wrong_shape", f"accelerators contains {accelerator.device} twice")
        devices.add(accelerator.device)
        _check_readings(accelerator.device, batch.at_us, accelerator.readings)
    return batch


def decode_engine(data: bytes | None) -> EngineBatch:
    """Decode an engine batch; raises InvalidMessageError."""
    batch = _decode(_engine, data)
    _check_samples(batch)
    _check_readings("readings", batch.at_us, batch.readings)
    return batch


def decode_outcomes(data: bytes | None) -> OutcomeBatch:
    """Decode an outcome batch; raises InvalidMessageError."""
    batch = _decode(_outcomes, data)
    check_identity(batch.namespace, batch.endpoint, batch.replica_id, batch.boot_id)
    _check_interval(batch.start_us, batch.end_us)
    rows, gaps, length_us = batch.outcomes, batch.gaps, batch.end_us - batch.start_us
    count = len(rows.at_us)
    if count > MAX_OUTCOMES:
        raise InvalidMessageError(
            "too_many_events", f"{count} outcomes; the limit per batch is {MAX_OUTCOMES}"
        )
    _check_lengths(
        "outcomes", rows.at_us, slice=rows.slice, ended=rows.ended, duration_us=rows.duration_us,
        **{name: found for name in NULLABLE if (found := getattr(rows, name))},
    )  # fmt: skip
    _check_lengths("gaps", gaps.slice, "slice", bucket=gaps.bucket, count=gaps.count)
    latest_us = max([*rows.at_us, *(sample.at_us for sample in batch.samples)], default=0)
    if latest_us > length_us:
        raise InvalidMessageError(
            "out_of_interval", f"at_us holds {latest_us}; the interval is {length_us} long"
        )
    highest = max([*rows.slice, *gaps.slice, *(sample.slice for sample in batch.samples)], default=-1)
    if highest >= len(batch.slices):
        raise InvalidMessageError(
            "wrong_shape", f"slice holds {highest}; there are {len(batch.slices)} slices"
        )
    for each in batch.slices:
        if each.input_upto and each.input_upto not in INPUT_CLASSES:
            raise InvalidMessageError(
                "wrong_shape", f"input_upto is {each.input_upto}; expected 0 or one of {INPUT_CLASSES}"
            )
    return batch


def decode_replicas(data: bytes | None) -> ReplicaMessage:
    """Decode a replica state or an endpoint's settings; raises InvalidMessageError."""
    message = _decode(_replicas, data)
    check_name("namespace", message.namespace)
    check_name("endpoint", message.endpoint)
    if isinstance(message, ReplicaState):
        check_name("replica_id", message.replica_id)
    elif isinstance(message, EndpointSettings) and message.min_replicas > message.max_replicas:
        raise InvalidMessageError(
            "wrong_shape",
            f"min_replicas is {message.min_replicas}, more than max_replicas ({message.max_replicas})",
        )
    return message


def decode_rejected(data: bytes | None) -> Rejected:
    """Decode a rejected message; raises InvalidMessageError."""
    return _decode(_rejected, data)


def decode_signal(data: bytes | None) -> AutoscalingSignal:
    """Decode an autoscaling signal; raises InvalidMessageError."""
    signal = _decode(_signals, data)
    check_name("namespace", signal.namespace)
    check_name("endpoint", signal.endpoint)
    for replica in signal.replicas:
        check_name("replica_id", replica.replica_id)
    return signal


def _decode(decoder: msgspec.json.Decoder[Message], data: bytes | None) -> Message:
    if not data:
        raise InvalidMessageError("empty", "the message has no value")
    _check_size(data)
    try:
        message = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _invalid(error, _read_version(data), 1) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessageError("not_json", str(error)) from error
    if (version := getattr(message, "version", 1)) != 1:
        raise InvalidMessageError("unknown_version", f"version is {version!r}; expected 1")
    return message


def _check_size(data: bytes) -> None:
    if len(data) > MAX_MESSAGE_BYTES:
        raise InvalidMessageError(
            "too_large", f"{len(data)} bytes; the limit per message is {MAX_MESSAGE_BYTES}"
        )


def _invalid(error: msgspec.ValidationError, version: object, expected: int) -> InvalidMessageError:
    if version != expected:
        return InvalidMessageError("unknown_version", f"version is {version!r}; expected {expected}")
    return InvalidMessageError("wrong_shape", str(error))


def _read_version(data: bytes) -> object:
    """Return the message's version, 1 if it has none or is not a JSON object, or the type's name if it is no scalar."""
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError:
        return 1
    if not isinstance(message, dict):
        return 1
    version = message.get("version", 1)
    return version if isinstance(version, int | str | float) else type(version).__name__


def _check_samples(batch: SampleBatch) -> None:
    check_identity(batch.namespace, batch.endpoint, batch.replica_id, batch.boot_id)
    _check_interval(batch.start_us, batch.end_us)
    length_us = batch.end_us - batch.start_us
    if batch.at_us and max(batch.at_us) > length_us:
        raise InvalidMessageError(
            "out_of_interval", f"at_us holds {max(batch.at_us)}; the interval is {length_us} long"
        )


def _check_columns(batch: RequestBatch) -> None:
    """Raise InvalidMessageError unless all columns of each phase have the same length; written for speed."""
    responded, finished, informational = batch.responded, batch.finished, batch.informational
    pending, streaming = batch.aborted_pending, batch.aborted_streaming
    rows = len(responded.at_us)
    if len(responded.wait_us) != rows or len(responded.status) != rows:
        _check_lengths("responded", responded.at_us, wait_us=responded.wait_us, status=responded.status)
    rows = len(finished.at_us)
    if len(finished.duration_us) != rows or len(finished.status) != rows:
        _check_lengths("finished", finished.at_us, duration_us=finished.duration_us, status=finished.status)
    if len(informational.status) != len(informational.at_us):
        _check_lengths("informational", informational.at_us, status=informational.status)
    if len(pending.age_us) != len(pending.at_us):
        _check_lengths("aborted_pending", pending.at_us, age_us=pending.age_us)
    if len(streaming.age_us) != len(streaming.at_us):
        _check_lengths("aborted_streaming", streaming.at_us, age_us=streaming.age_us)


def _check_interval(start_us: int, end_us: int) -> None:
    if not 0 <= end_us - start_us <= MAX_INTERVAL_US:
        raise InvalidMessageError(
            "bad_interval",
            f"end_us - start_us is {end_us - start_us}; expected 0 to {MAX_INTERVAL_US} microseconds",
        )


def _check_readings(device: str, at_us: Sized, readings: Mapping[str, Sized]) -> None:
    if set(map(len, readings.values())) - {len(at_us)}:  # faster than to look at each
        _check_lengths(device, at_us, **readings)


def _check_lengths(phase: str, first: Sized, first_name: str = "at_us", /, **columns: Sized) -> None:
    for name, column in columns.items():
        if len(column) != len(first):
            raise InvalidMessageError(
                "unequal_columns",
                f"{phase}.{name} has {len(column)} values, {phase}.{first_name} has {len(first)}",
            )
