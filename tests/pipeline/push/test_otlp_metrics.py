"""Families as OTLP metrics; what is sent is read back with OpenTelemetry's own messages."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from endpoint_analytics.pipeline.core.sketch import buckets_of
from endpoint_analytics.pipeline.exposition.families import (
    Histogram,
    MetricFamily,
    NativeBuckets,
    Sample,
    family_of,
)
from endpoint_analytics.pipeline.push.otlp_metrics import export_requests
from endpoint_analytics.schemas import metrics as names
from endpoint_analytics.schemas.limits import MAX_DURATION_US
from endpoint_analytics.schemas.sketch_buckets import OFFSET, SCHEMA

AT_S, FIRST_S = 1_790_000_100.25, 1_790_000_000.5
LLM = (("endpoint_namespace", "acme"), ("endpoint_name", "llm"))
R1, R2 = (*LLM, ("replica_id", "r1")), (*LLM, ("replica_id", "r2"))


def read(body: bytes) -> ExportMetricsServiceRequest:
    return ExportMetricsServiceRequest.FromString(body)


def pushed(*families: MetricFamily) -> dict[tuple[str, ...], dict[str, Metric]]:
    """Return the metrics by resource and name, after they were bytes."""
    found = {}
    bodies = [message.SerializeToString() for message in export_requests(families, AT_S, 10)]
    for resource in (each for body in bodies for each in read(body).resource_metrics):
        values = {each.key: each.value.string_value for each in resource.resource.attributes}
        key = tuple(f"{name}={value}" for name, value in sorted(values.items()))
        assert key not in found
        found[key] = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    return found


def attributes(point) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in point.attributes}


ENDPOINT = ("service.name=llm", "service.namespace=acme")
REPLICA = ("service.instance.id=r1", *ENDPOINT)


def test_resources_are_the_endpoint_and_its_replicas():
    found = pushed(
        family_of(names.PENDING_REQUESTS, [Sample("", R1, 3), Sample("", R2, 4)]),
        family_of(names.RUNNING_REPLICAS, [Sample("", LLM, 2)]),
    )
    assert found.keys() == {REPLICA, ("service.instance.id=r2", *ENDPOINT), ENDPOINT}
    (point,) = found[REPLICA]["pending_requests"].gauge.data_points
    assert (point.as_int, point.time_unix_nano, attributes(point)) == (3, 1_790_000_100_250_000_000, {})
    assert found[ENDPOINT]["running_replicas"].gauge.data_points[0].as_int == 2


def test_a_counter_is_cumulative_from_its_start_with_the_status_as_a_number():
    samples = [Sample("_total", (*R1, ("status_code", "503")), 7, FIRST_S)]
    metric = pushed(family_of(names.HTTP_REQUESTS, samples))[REPLICA]["http_requests"]
    assert metric.sum.is_monotonic
    assert metric.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    (point,) = metric.sum.data_points
    assert (point.as_int, point.start_time_unix_nano) == (7, 1_790_000_000_500_000_000)
    assert attributes(point) == {"http.response.status_code": 503}


def test_active_requests_are_the_conventions_up_down_counter():
    metric = pushed(family_of(names.ACTIVE_REQUESTS, [Sample("", R1, 5)]))[REPLICA][
        "http.server.active_requests"
    ]
    assert (metric.unit, metric.sum.is_monotonic, metric.sum.data_points[0].as_int) == ("{request}", False, 5)


def test_own_names_leave_the_unit_to_otlp():
    found = pushed(
        MetricFamily("memory_used_bytes", "gauge", "Memory", "bytes", (Sample("", R1, 1.5),)),
        MetricFamily("cpu_limit_cores", "gauge", "Cores", "cores", (Sample("", R1, 2.0),)),
        MetricFamily("engine_lora_slots", "gauge", "Own", "", (Sample("", (*R1, ("gpu", "gpu0")), 1.0),)),
    )[REPLICA]
    assert {name: metric.unit for name, metric in found.items()} == {
        "memory_used": "By",
        "cpu_limit_cores": "{core}",
        "engine_lora_slots": "",
    }
    assert found["memory_used"].description == "Memory"
    assert attributes(found["engine_lora_slots"].gauge.data_points[0]) == {"gpu": "gpu0"}


def test_every_unit_of_ours_has_one_of_ucum():
    units = {each.family: each.unit for each in names.HARDWARE_METRICS if each.family and not each.counter}
    units |= {each.name: each.unit for each in names.ENGINE_METRICS}
    families = [MetricFamily(name, "gauge", "", unit, (Sample("", R1, 1.0),)) for name, unit in units.items()]
    found = pushed(*families)[REPLICA]
    assert len(found) == len(families) > 15
    assert all(metric.unit for metric in found.values())


def test_what_is_counted_has_a_unit():
    families = [
        family_of(each, [Sample("", R1, 1)])
        for each in vars(names).values()
        if isinstance(each, names.Family) and each.type in ("counter", "gauge")
    ]
    families += [
        MetricFamily(each.family, "counter", "", "", (Sample("_total", R1, 1),))
        for each in names.HARDWARE_METRICS
        if each.family and each.counter
    ]
    found = pushed(*families)[REPLICA]
    assert len(found) == len(families)
    assert [name for name, metric in found.items() if not metric.unit] == []
    assert (found["http_requests"].unit, found["running_replicas"].unit) == ("{request}", "{replica}")


def test_summaries_are_left_out():
    summary = family_of(names.LATENCY, [Sample("_count", LLM, 3), Sample("_sum", LLM, 1.5)])
    assert pushed(summary) == {}


def histogram_of(values_us: list[int]) -> Histogram:
    buckets, counts = np.unique(buckets_of(np.array(values_us, dtype=np.int64)), return_counts=True)
    zeros = int(counts[0]) if len(buckets) and buckets[0] == 0 else 0
    first = 1 if zeros else 0
    native = NativeBuckets(
        SCHEMA, buckets[first:].astype(np.int64) - OFFSET, counts[first:].astype(np.int64), zeros
    )
    return Histogram(R1, (), (), native, len(values_us), sum(values_us) / 1e6, FIRST_S)


@given(st.lists(st.integers(0, MAX_DURATION_US), max_size=50))
def test_each_value_is_in_its_exponential_bucket(values_us):
    """By the data model's rule: bucket i of scale s holds values in (2^(i / 2^s), 2^((i + 1) / 2^s)]."""
    found = pushed(family_of(names.LATENCY_SECONDS, histograms=[histogram_of(values_us)]))
    metric = found[REPLICA]["http.server.request.duration"]
    assert metric.unit == "s"
    (point,) = metric.exponential_histogram.data_points
    assert (point.scale, point.count, point.zero_count) == (6, len(values_us), values_us.count(0))
    assert point.start_time_unix_nano == 1_790_000_000_500_000_000
    assert point.zero_count + sum(point.positive.bucket_counts) == point.count
    assert point.sum == sum(values_us) / 1e6
    left = dict(enumerate(point.positive.bucket_counts, point.positive.offset))
    for value_us in sorted(value for value in values_us if value):
        # The sketch's own test holds its bounds to integers; floats here may be one unit in the last place off.
        index = math.ceil(math.log2(value_us / 1e6) * 64) - 1
        near = next(
            each
            for each in (index, index - 1, index + 1)
            if left.get(each)
            and 2 ** (each / 64) * 0.999999 <= value_us / 1e6 <= 2 ** ((each + 1) / 64) * 1.000001
        )
        left[near] -= 1
    assert not any(left.values())


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 40))
def test_messages_are_bounded_and_lose_nothing(points_of_replicas, max_points):
    samples = [
        Sample("_total", (*LLM, ("replica_id", f"r{replica}"), ("status_code", str(200 + number))), replica)
        for replica, points in enumerate(points_of_replicas)
        for number in range(points)
    ]
    messages = list(export_requests([family_of(names.HTTP_REQUESTS, samples)], AT_S, max_points))
    counts = [
        [len(resource.scope_metrics[0].metrics[0].sum.data_points) for resource in message.resource_metrics]
        for message in messages
    ]
    assert [points for each in counts for points in each] == points_of_replicas
    assert all(sum(each) <= max_points or len(each) == 1 for each in counts)
