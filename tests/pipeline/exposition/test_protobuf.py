"""Families in protobuf, read back by Google's own library with the messages of Prometheus's client model."""

import math

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.decoder import _DecodeVarint
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.exposition.families import Histogram, MetricFamily, NativeBuckets, Sample
from endpoint_analytics.pipeline.exposition.protobuf import render

# Message: fields as (number, name, type), a message's name for a nested one, "*" before it for a repeated one.
MODEL = {
    "LabelPair": [(1, "name", "string"), (2, "value", "string")],
    "Timestamp": [(1, "seconds", "int64"), (2, "nanos", "int32")],
    "Gauge": [(1, "value", "double")],
    "Counter": [(1, "value", "double"), (3, "created_timestamp", "Timestamp")],
    "Quantile": [(1, "quantile", "double"), (2, "value", "double")],
    "Summary": [
        (1, "sample_count", "uint64"),
        (2, "sample_sum", "double"),
        (3, "quantile", "*Quantile"),
        (4, "created_timestamp", "Timestamp"),
    ],
    "Bucket": [(1, "cumulative_count", "uint64"), (2, "upper_bound", "double")],
    "BucketSpan": [(1, "offset", "sint32"), (2, "length", "uint32")],
    "Histogram": [
        (1, "sample_count", "uint64"),
        (2, "sample_sum", "double"),
        (3, "bucket", "*Bucket"),
        (5, "schema", "sint32"),
        (6, "zero_threshold", "double"),
        (7, "zero_count", "uint64"),
        (12, "positive_span", "*BucketSpan"),
        (13, "positive_delta", "*sint64"),
        (15, "created_timestamp", "Timestamp"),
    ],
    "Metric": [
        (1, "label", "*LabelPair"),
        (2, "gauge", "Gauge"),
        (3, "counter", "Counter"),
        (4, "summary", "Summary"),
        (7, "histogram", "Histogram"),
    ],
    "MetricFamily": [
        (1, "name", "string"),
        (2, "help", "string"),
        (3, "type", "int32"),
        (4, "metric", "*Metric"),
        (5, "unit", "string"),
    ],
}


def _messages():
    file = descriptor_pb2.FileDescriptorProto(name="model.proto", package="model", syntax="proto2")
    field_type = descriptor_pb2.FieldDescriptorProto
    for name, fields in MODEL.items():
        message = file.message_type.add(name=name)
        for number, field_name, kind in fields:
            bare = kind.removeprefix("*")
            field = message.field.add(name=field_name, number=number)
            field.label = field_type.LABEL_REPEATED if kind[0] == "*" else field_type.LABEL_OPTIONAL
            if bare in MODEL:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".model.{bare}"
            else:
                field.type = getattr(field_type, f"TYPE_{bare.upper()}")
                field.options.packed = kind[0] == "*"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("model.MetricFamily"))


FAMILY = _messages()


def parse(body: bytes):
    families, at = [], 0
    while at < len(body):
        length, at = _DecodeVarint(body, at)
        family = FAMILY()
        assert family.ParseFromString(body[at : at + length]) == length
        assert family.SerializeToString() == body[at : at + length]  # no field is unknown
        families.append(family)
        at += length
    return families


def native(histogram) -> dict[int, int]:
    """Return the native buckets by index, as a reader of spans and deltas finds them."""
    found, index, count, deltas = {}, 0, 0, list(histogram.positive_delta)
    for span in histogram.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += deltas.pop(0)
            if count:
                found[index] = count
            index += 1
    assert not deltas
    return found


def labels(metric) -> dict[str, str]:
    return {label.name: label.value for label in metric.label}


def histogram_of(counts: dict[int, int], zeros: int = 0, created_s: float = 0.0) -> Histogram:
    indexes = sorted(counts)
    total = sum(counts.values()) + zeros
    buckets = NativeBuckets(
        6,
        np.array(indexes, dtype=np.int64),
        np.array([counts[index] for index in indexes], dtype=np.int64),
        zeros,
    )
    return Histogram((("replica_id", "r1"),), (0.5, 1.0), (zeros, total), buckets, total, 1.25, created_s)


def family_of(histogram: Histogram) -> MetricFamily:
    return MetricFamily("latency_seconds", "histogram", "Latency", "seconds", (), (histogram,))


def test_counters_gauges_and_statesets():
    families = parse(
        render(
            (
                MetricFamily(
                    "http_requests",
                    "counter",
                    'By "code"\n',
                    "",
                    (
                        Sample(
                            "_total",
                            (("replica_id", 'a"\\é'), ("status_code", "200")),
                            2**53 - 1,
                            1767225600.25,
                        ),
                    ),
                ),
                MetricFamily("cpu_usage_percent", "gauge", "CPU", "percent", (Sample("", (), math.inf),)),
                MetricFamily(
                    "replica_state", "stateset", "State", "", (Sample("", (("replica_state", "failed"),), 1),)
                ),
            )
        )
    )
    assert [(each.name, each.type, each.unit) for each in families] == [
        ("http_requests_total", 0, ""),
        ("cpu_usage_percent", 1, "percent"),
        ("replica_state", 1, ""),
    ]
    (requests,) = families[0].metric
    assert labels(requests) == {"replica_id": 'a"\\é', "status_code": "200"}
    assert requests.counter.value == 2**53 - 1
    created = requests.counter.created_timestamp
    assert (created.seconds, created.nanos) == (1767225600, 250_000_000)
    assert families[1].metric[0].gauge.value == math.inf
    assert families[2].metric[0].gauge.value == 1


def test_a_summary_has_its_quantiles():
    samples = (
        Sample("", (), 0.25, own=(("quantile", "0.5"),)),
        Sample("", (), math.nan, own=(("quantile", "0.99"),)),
        Sample("_count", (), 300, 5.0),
        Sample("_sum", (), 41.5),
    )
    (family,) = parse(render((MetricFamily("latency_distribution", "summary", "Latency", "", samples),)))
    (metric,) = family.metric
    assert (family.type, list(metric.label)) == (2, [])
    assert (metric.summary.sample_count, metric.summary.sample_sum) == (300, 41.5)
    assert [each.quantile for each in metric.summary.quantile] == [0.5, 0.99]
    assert math.isnan(metric.summary.quantile[1].value)
    assert metric.summary.created_timestamp.seconds == 5


def test_a_histogram_has_classic_and_native_buckets():
    (family,) = parse(render((family_of(histogram_of({-3: 2, 0: 5, 700: 1}, zeros=4, created_s=9.5)),)))
    assert (family.name, family.type, family.unit) == ("latency_seconds", 4, "seconds")
    found = family.metric[0].histogram
    assert (found.sample_count, found.sample_sum, found.schema) == (12, 1.25, 6)
    assert (found.zero_threshold, found.zero_count) == (0.0, 4)
    assert [(each.upper_bound, each.cumulative_count) for each in found.bucket] == [
        (0.5, 4),
        (1.0, 12),
        (math.inf, 12),
    ]
    assert native(found) == {-3: 2, 0: 5, 700: 1}
    assert [(span.offset, span.length) for span in found.positive_span] == [(-3, 4), (699, 1)]
    assert (found.created_timestamp.seconds, found.created_timestamp.nanos) == (9, 500_000_000)


def test_an_empty_histogram_is_still_a_native_one():
    (family,) = parse(render((family_of(histogram_of({})),)))
    found = family.metric[0].histogram
    assert [(span.offset, span.length) for span in found.positive_span] == [(0, 0)]
    assert (found.sample_count, list(found.positive_delta)) == (0, [])


@given(st.dictionaries(st.integers(-1300, 1300), st.integers(1, 2**40), max_size=60), st.integers(0, 5))
def test_any_buckets_are_read_back(counts, zeros):
    (family,) = parse(render((family_of(histogram_of(counts, zeros)),)))
    assert native(family.metric[0].histogram) == counts


@pytest.mark.parametrize("name", ["", "é", "x" * 127, "x" * 128, "x" * 70_000])
def test_texts_of_any_length(name):
    (family,) = parse(render((MetricFamily("m", "gauge", name, "", (Sample("", (("l", name),), 1.5),)),)))
    assert family.help == name
    assert labels(family.metric[0]) == {"l": name}


NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
LABELS = st.lists(st.tuples(NAMES, st.text(max_size=150)), max_size=3, unique_by=lambda pair: pair[0]).map(
    tuple
)
SAMPLES = st.builds(
    Sample,
    st.just("_total"),
    LABELS,
    st.one_of(st.floats(), st.integers(0, 2**64 - 1)),
    st.one_of(st.none(), st.integers(0, 2**41).map(lambda eighths: eighths / 8)),
    LABELS,
)


@given(st.lists(st.lists(SAMPLES, max_size=6), max_size=4), st.sampled_from(["counter", "gauge"]))
def test_every_sample_has_its_own_labels_value_and_start(families, kind):
    """Labels that are the same object, equal ones, and none."""
    shared = [sample.labels for samples in families for sample in samples][:1]
    families = [
        [
            sample._replace(
                labels=shared[0] if index % 2 else sample.labels,
                created_s=sample.created_s if kind == "counter" else None,
            )
            for index, sample in enumerate(samples)
        ]
        for samples in families
    ]
    found = parse(
        render(MetricFamily(f"f{n}", kind, "Help", "", tuple(each)) for n, each in enumerate(families))
    )
    assert len(found) == len(families)
    for family, samples in zip(found, families, strict=True):
        assert len(family.metric) == len(samples)
        for metric, sample in zip(family.metric, samples, strict=True):
            assert tuple((each.name, each.value) for each in metric.label) == sample.labels + sample.own
            value = getattr(metric, kind)
            assert value.value == float(sample.value) or (
                math.isnan(value.value) and math.isnan(sample.value)
            )
            if kind == "counter":
                assert value.HasField("created_timestamp") == (sample.created_s is not None)
                created = value.created_timestamp
                assert created.seconds + created.nanos / 1e9 == (sample.created_s or 0)
