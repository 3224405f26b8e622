"""Metric families as OTLP metrics: names, units, attributes and resources by OpenTelemetry's conventions. Pure.

Where our metric means what a semantic convention means, it has the convention's name; otherwise it keeps its own,
without the unit that OTLP states separately. Counters and histograms are cumulative, with the time at which they
started. A summary is left out: the histogram beside it has the same figures, and can be added up.

https://opentelemetry.io/docs/specs/otel/metrics/data-model/ and .../semconv/http/http-metrics/; units: ucum.org.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
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
from endpoint_analytics.pipeline.serve.scrape.scrapes import ENDPOINT_LABELS
from endpoint_analytics.schemas import metrics as names

_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_SCOPE = "endpoint_analytics"
_NAMESPACE, _ENDPOINT = ENDPOINT_LABELS
_REPLICA = "replica_id"
_OF_RESOURCE = frozenset({_NAMESPACE, _ENDPOINT, _REPLICA})
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
# What is counted by a family whose name has no unit, by the end of the name.
_COUNTED = {
    "requests": "{request}",
    "pending_per_replica": "{request}",
    "active_per_replica": "{request}",
    "batches": "{batch}",
    "boots": "{boot}",
    "replicas": "{replica}",
    "kills": "{kill}",
    "errors": "{error}",
    "hits": "{hit}",
}
_LEFT_OUT = frozenset({"summary"})


class _Of(NamedTuple):
    """Whose figures a resource has; the replica is empty for those of a whole endpoint."""

    namespace: str
    endpoint: str
    replica: str


@dataclass(slots=True)
class _Figures:
    """The metrics of one resource, by family, and the number of their points."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    points: int = 0


def export_requests(
    families: Iterable[MetricFamily], at_s: float, max_points: int
) -> Iterator[ExportMetricsServiceRequest]:
    """Yield the families as of `at_s`, whose samples have the labels ENDPOINT_LABELS.

    A message has at most `max_points` data points, or one resource.
    """
    request, points = ExportMetricsServiceRequest(), 0
    for of, figures in _by_resource(families, _nanoseconds(at_s)).items():
        if points and points + figures.points > max_points:
            yield request
            request, points = ExportMetricsServiceRequest(), 0
        scope = ScopeMetrics(scope=InstrumentationScope(name=_SCOPE), metrics=figures.metrics.values())
        request.resource_metrics.append(ResourceMetrics(resource=_resource(of), scope_metrics=[scope]))
        points += figures.points
    if points:
        yield request


def _by_resource(families: Iterable[MetricFamily], at_ns: int) -> dict[_Of, _Figures]:
    found: dict[_Of, _Figures] = {}

    def metric_of(family: MetricFamily, labels: Labels) -> Metric:
        values = dict(labels)
        of = _Of(values[_NAMESPACE], values[_ENDPOINT], values.get(_REPLICA, ""))
        figures = found.setdefault(of, _Figures())
        figures.points += 1
        metric = figures.metrics.get(family.name)
        if metric is None:
            metric = figures.metrics[family.name] = _metric(family)
        return metric

    for family in families:
        if family.type in _LEFT_OUT:
            continue
        for sample in family.samples:
            metric = metric_of(family, sample.labels + sample.own)
            points = metric.gauge.data_points if metric.HasField("gauge") else metric.sum.data_points
            points.append(_number(sample, at_ns))
        for histogram in family.histograms:
            metric = metric_of(family, histogram.labels)
            metric.exponential_histogram.data_points.append(_histogram(histogram, at_ns))
    return found


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
    if family.unit:
        return family.name, _ANNOTATED_UNITS.get(family.unit, "")
    return family.name, next((unit for end, unit in _COUNTED.items() if family.name.endswith(end)), "")


def _number(sample: Sample, at_ns: int) -> NumberDataPoint:
    point = NumberDataPoint(attributes=_attributes(sample.labels + sample.own), time_unix_nano=at_ns)
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
    first = int(native.indexes[0])
    counts = np.zeros(int(native.indexes[-1]) - first + 1, np.int64)
    counts[native.indexes - first] = native.counts
    return first - 1, counts.tolist()


def _attributes(labels: Labels) -> Iterator[KeyValue]:
    for name, value in labels:
        if name == _STATUS:
            yield KeyValue(key="http.response.status_code", value=AnyValue(int_value=int(value)))
        elif name not in _OF_RESOURCE:
            yield KeyValue(key=name, value=AnyValue(string_value=value))


def _resource(of: _Of) -> Resource:
    attributes = {"service.namespace": of.namespace, "service.name": of.endpoint}
    if of.replica:
        attributes["service.instance.id"] = of.replica
    return Resource(
        attributes=[KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in attributes.items()]
    )


def _nanoseconds(at_s: float) -> int:
    return round(at_s * 1_000_000) * 1_000
