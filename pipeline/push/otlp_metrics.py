"""Metric families as OTLP metrics: names, units, attributes and resources by OpenTelemetry's conventions. Pure.

Where our metric means what a semantic convention means, it has the convention's name; otherwise it keeps its own,
without the unit that OTLP states separately. Counters and histograms are cumulative, with the time at which they
started. A summary is left out: the histogram beside it has the same figures, and can be added up.

https://opentelemetry.io/docs/specs/otel/metrics/data-model/ and .../semconv/http/http-metrics/; units: ucum.org.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from endpoint_analytics.pipeline.exposition.families import (
    Histogram,
    Labels,
    MetricFamily,
    NativeBuckets,
    Sample,
)
from endpoint_analytics.schemas import metrics as names

_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_SCOPE = "endpoint_analytics"
_REPLICA = "replica_id"
_STATUS = "status_code"


class _Convention(NamedTuple):
    """The name and unit that a semantic convention gives to a family of ours.

    `is_up_down`: a gauge that the convention has as an up-down counter.
    """

    name: str
    unit: str
    is_up_down: bool = False


_CONVENTIONS: Mapping[str, _Convention] = {
    names.LATENCY_SECONDS.name: _Convention("http.server.request.duration", "s"),
    names.ACTIVE_REQUESTS.name: _Convention("http.server.active_requests", "{request}", is_up_down=True),
}
# Unit of a family -> UCUM. These leave the name: Prometheus adds them again, so that it is the same as in a scrape.
_STATED_UNITS = {
    "seconds": "s",
    "bytes": "By",
    "percent": "%",
    "ratio": "1",
    "watts": "W",
    "celsius": "Cel",
}
# These stay in the name.
_ANNOTATED_UNITS = {
    "cores": "{core}",
    "requests": "{request}",
    "requests_per_second": "{request}/s",
    "tokens_per_second": "{token}/s",
    "preemptions_per_second": "{preemption}/s",
}
_LEFT_OUT = frozenset({"summary"})

# replica, "" for the whole endpoint -> its metrics
_ByReplica = dict[str, list[Metric]]


def export_request(
    endpoints: Iterable[tuple[str, str, Iterable[MetricFamily]]], at_s: float
) -> ExportMetricsServiceRequest:
    """Return one message with the families of endpoints (namespace, name, families), all as of `at_s`."""
    at_ns = _nanoseconds(at_s)
    request = ExportMetricsServiceRequest()
    for namespace, endpoint, families in endpoints:
        found: _ByReplica = {}
        for family in families:
            _add_family(found, family, at_ns)
        request.resource_metrics.extend(
            ResourceMetrics(
                resource=_resource(namespace, endpoint, replica),
                scope_metrics=[ScopeMetrics(scope=InstrumentationScope(name=_SCOPE), metrics=metrics)],
            )
            for replica, metrics in found.items()
        )
    return request


def point_count(families: Iterable[MetricFamily]) -> int:
    """Return how many data points the families become."""
    return sum(
        len(family.samples) + len(family.histograms) for family in families if family.type not in _LEFT_OUT
    )


def _add_family(found: _ByReplica, family: MetricFamily, at_ns: int) -> None:
    if family.type in _LEFT_OUT:
        return
    made: dict[str, Metric] = {}

    def metric_of(labels: Labels) -> Metric:
        replica = next((value for name, value in labels if name == _REPLICA), "")
        if replica not in made:
            made[replica] = _metric(family)
            found.setdefault(replica, []).append(made[replica])
        return made[replica]

    for sample in family.samples:
        metric = metric_of(sample.labels)
        points = metric.gauge.data_points if metric.HasField("gauge") else metric.sum.data_points
        points.append(_number(sample, at_ns))
    for histogram in family.histograms:
        metric_of(histogram.labels).exponential_histogram.data_points.append(_histogram(histogram, at_ns))


def _metric(family: MetricFamily) -> Metric:
    convention = _CONVENTIONS.get(family.name)
    name, unit = (convention.name, convention.unit) if convention else _own_name(family)
    metric = Metric(name=name, unit=unit, description=family.help)
    if family.type == "histogram":
        metric.exponential_histogram.aggregation_temporality = _CUMULATIVE
    elif family.type == "counter" or (convention is not None and convention.is_up_down):
        metric.sum.aggregation_temporality = _CUMULATIVE
        metric.sum.is_monotonic = family.type == "counter"
    else:
        metric.gauge.SetInParent()
    return metric


def _own_name(family: MetricFamily) -> tuple[str, str]:
    if family.unit in _STATED_UNITS:
        return family.name.removesuffix(f"_{family.unit}"), _STATED_UNITS[family.unit]
    return family.name, _ANNOTATED_UNITS.get(family.unit, "")


def _number(sample: Sample, at_ns: int) -> NumberDataPoint:
    point = NumberDataPoint(attributes=_attributes(sample.labels), time_unix_nano=at_ns)
    if sample.created_s is not None:
        point.start_time_unix_nano = _nanoseconds(sample.created_s)
    if isinstance(sample.value, int):
        point.as_int = sample.value
    else:
        point.as_double = sample.value
    return point


def _histogram(histogram: Histogram, at_ns: int) -> ExponentialHistogramDataPoint:
    point = ExponentialHistogramDataPoint(
        attributes=_attributes(histogram.labels),
        start_time_unix_nano=_nanoseconds(histogram.created_s),
        time_unix_nano=at_ns,
        count=histogram.count,
        sum=histogram.sum,
        scale=histogram.native.schema,
        zero_count=histogram.native.zero_count,
    )
    if len(histogram.native.indexes):
        offset, counts = _dense(histogram.native)
        point.positive.offset = offset
        point.positive.bucket_counts.extend(counts)
    return point


def _dense(native: NativeBuckets) -> tuple[int, list[int]]:
    """Return OTLP's buckets: the index of the first, and all counts from there on.

    Prometheus numbers a bucket by its upper bound, 2^(i / 2^schema), OTLP by its lower one: i - 1 is the same bucket.
    """
    first = native.indexes[0]
    counts = [0] * (native.indexes[-1] - first + 1)
    for index, count in zip(native.indexes, native.counts, strict=True):
        counts[index - first] = count
    return first - 1, counts


def _attributes(labels: Labels) -> Iterator[KeyValue]:
    for name, value in labels:
        if name == _STATUS:
            yield KeyValue(key="http.response.status_code", value=AnyValue(int_value=int(value)))
        elif name != _REPLICA:
            yield KeyValue(key=name, value=AnyValue(string_value=value))


def _resource(namespace: str, endpoint: str, replica: str) -> Resource:
    attributes = {"service.namespace": namespace, "service.name": endpoint}
    if replica:
        attributes["service.instance.id"] = replica
    return Resource(
        attributes=[KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in attributes.items()]
    )


def _nanoseconds(at_s: float) -> int:
    return round(at_s * 1_000_000) * 1_000
