"""Families in Prometheus's protobuf format, with native histograms beside the classic buckets.

Only the rules of that format belong here: delimited `io.prometheus.client.MetricFamily` messages. Field numbers:
github.com/prometheus/client_model, io/prometheus/client/metrics.proto. It is the only format in which Prometheus reads
native histograms. The wire format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from struct import Struct

import numpy as np
import numpy.typing as npt

from endpoint_analytics.pipeline.exposition.families import (
    ByLabels,
    FamilyType,
    Histogram,
    Labels,
    MetricFamily,
    NativeBuckets,
    Sample,
)

CONTENT_TYPE = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

_TYPE: dict[FamilyType, int] = {"counter": 0, "gauge": 1, "stateset": 1, "summary": 2, "histogram": 4}
_GAUGE, _COUNTER, _SUMMARY, _HISTOGRAM = 2, 3, 4, 7
"""Field of a metric's value, by its type."""
_LARGEST_GAP = 2
"""Empty buckets between two filled ones that are sent as zeros, which takes fewer bytes than a new span."""
_DOUBLE = Struct("<d").pack
_FIRST = np.zeros(1, dtype=np.int64)


def render(families: Iterable[MetricFamily]) -> bytes:
    """Return the exposition; families stay in order, without timestamps."""
    labels = ByLabels(_labels)
    return b"".join([_family(family, labels) for family in families])


def _family(family: MetricFamily, labels: ByLabels[bytes]) -> bytes:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    message = _bytes(1, name.encode()) + _bytes(2, family.help.encode()) + _integer(3, _TYPE[family.type])
    message += b"".join([_METRIC + _varint(len(metric)) + metric for metric in _metrics(family, labels)])
    if family.unit:
        message += _bytes(5, family.unit.encode())
    return _varint(len(message)) + message


def _metrics(family: MetricFamily, labels: ByLabels[bytes]) -> Iterator[bytes]:
    if family.type == "summary":
        yield from _summaries(family.samples)
    elif family.type == "histogram":
        for each in family.histograms:
            yield labels.add(each.labels) + _bytes(_HISTOGRAM, _histogram(each))
    else:
        yield from _values(family.samples, _COUNTER if family.type == "counter" else _GAUGE, labels)


def _values(samples: Sequence[Sample], field: int, labels: ByLabels[bytes]) -> Iterator[bytes]:
    """Yield a metric for each sample: its labels, and a message of its value, for counters with the start."""
    doubles = Struct(f"<{len(samples)}d").pack(*[sample.value for sample in samples])
    starts: dict[float | None, tuple[bytes, bytes]] = {}  # what comes before a value, and after it
    places = range(0, len(doubles), 8)
    for (_, shared, _, created_s, own), place in zip(samples, places, strict=True):
        around = starts.get(created_s)
        if around is None:
            after = b"" if created_s is None else _bytes(3, _timestamp(created_s))
            around = _field(field, 2) + _varint(9 + len(after)) + _field(1, 1), after
            starts[created_s] = around
        before, after = around
        of = labels.get(id(shared)) or labels.add(shared)
        if own:
            of += labels.get(id(own)) or labels.add(own)
        yield of + before + doubles[place : place + 8] + after


def _summaries(samples: Iterable[Sample]) -> Iterator[bytes]:
    """Yield a metric for each set of labels; a sample's own label is its quantile."""
    found: dict[Labels, dict[str, Sample]] = {}
    for sample in samples:
        found.setdefault(sample.labels, {})[dict(sample.own).get("quantile", sample.suffix)] = sample
    for labels, parts in found.items():
        count, total = parts.pop("_count"), parts.pop("_sum")
        value = _integer(1, int(count.value)) + _double(2, total.value)
        for quantile, at in parts.items():
            value += _bytes(3, _double(1, float(quantile)) + _double(2, at.value))
        if count.created_s is not None:
            value += _bytes(4, _timestamp(count.created_s))
        yield _labels(labels) + _bytes(_SUMMARY, value)


def _histogram(histogram: Histogram) -> bytes:
    parts = [_integer(1, histogram.count), _double(2, histogram.sum)]
    counts = (*histogram.cumulative, histogram.count)
    for bound, count in zip((*histogram.bounds, math.inf), counts, strict=True):
        bucket = _COUNT + _varint(count) + _bound(bound)
        parts += (_BUCKET, _SMALL[len(bucket)], bucket)
    parts += (_native(histogram.native), _bytes(15, _timestamp(histogram.created_s)))
    return b"".join(parts)


def _native(native: NativeBuckets) -> bytes:
    """Return the fields of the native buckets: spans of consecutive buckets, and each count's change."""
    message = _integer(5, _zigzag(native.schema)) + _double(6, 0.0) + _integer(7, native.zero_count)
    indexes = native.indexes
    if not indexes.size:
        return message + _bytes(12, _integer(1, 0) + _integer(2, 0))  # an empty span marks an empty histogram
    # Where a span begins and ends: places in `indexes`.
    breaks = np.flatnonzero(indexes[1:] - indexes[:-1] > _LARGEST_GAP + 1) + 1
    begins, ends = np.concatenate((_FIRST, breaks)), np.concatenate((breaks, (indexes.size,)))
    first, last = indexes[begins], indexes[ends - 1]
    lengths = last - first + 1
    offsets = first - np.concatenate((_FIRST, last[:-1] + 1))
    message += b"".join(
        _bytes(12, _integer(1, _zigzag(offset)) + _integer(2, length))
        for offset, length in zip(offsets.tolist(), lengths.tolist(), strict=True)
    )
    # Buckets of all spans in one row, after a zero; those within gaps are zeros.
    starts = np.cumsum(lengths) - lengths + 1
    row = np.zeros(int(lengths.sum()) + 1, dtype=np.int64)
    row[indexes + np.repeat(starts - first, ends - begins)] = native.counts
    return message + _bytes(13, _deltas(row[1:] - row[:-1]))


def _deltas(deltas: npt.NDArray[np.int64]) -> bytes:
    least, most = -len(_DELTAS) // 2, len(_DELTAS) // 2
    if deltas.min() >= least and deltas.max() < most:
        return b"".join([_DELTAS[delta] for delta in deltas.tolist()])
    return b"".join([_varint(_zigzag(delta)) for delta in deltas.tolist()])


def _labels(labels: Labels) -> bytes:
    return b"".join(_bytes(1, _bytes(1, name.encode()) + _bytes(2, value.encode())) for name, value in labels)


@lru_cache(maxsize=10_000)
def _timestamp(at_s: float) -> bytes:
    seconds, rest = divmod(round(at_s * 1_000_000), 1_000_000)
    return _integer(1, seconds) + _integer(2, rest * 1_000)


@cache
def _field(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _bytes(number: int, content: bytes) -> bytes:
    return _field(number, 2) + _varint(len(content)) + content


def _double(number: int, value: float) -> bytes:
    return _field(number, 1) + _DOUBLE(value)


def _integer(number: int, value: int) -> bytes:
    return _field(number, 0) + _varint(value)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


_SMALL = [bytes([value]) for value in range(128)]
_LENGTHS = [bytes((value & 127 | 128, value >> 7)) for value in range(512)]  # those of most metrics


def _varint(value: int) -> bytes:
    if value < 128:
        return _SMALL[value]
    if value < 512:
        return _LENGTHS[value]
    if value < 16_384:
        return bytes((value & 127 | 128, value >> 7))
    if value < 2_097_152:
        return bytes((value & 127 | 128, value >> 7 & 127 | 128, value >> 14))
    if value < 268_435_456:
        return bytes((value & 127 | 128, value >> 7 & 127 | 128, value >> 14 & 127 | 128, value >> 21))
    found = bytearray()
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


# What histograms have most of: small changes from one bucket to the next, negative ones from the list's end.
_DELTAS = [_varint(_zigzag(delta)) for delta in (*range(2_048), *range(-2_048, 0))]
_METRIC, _BUCKET, _COUNT = _field(4, 2), _field(3, 2), _field(1, 0)


@cache
def _bound(upper_bound: float) -> bytes:
    return _double(2, upper_bound)
