"""Export requests as a server's SDK makes them, built with the real messages."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

NOW_US = 1_790_000_000_000_000
NAMES = {"service.namespace": "acme", "service.name": "shop", "service.instance.id": "r1"}
STABLE = {"http.request.method": "GET", "http.response.status_code": 200, "url.path": "/buy"}
OLD = {"http.method": "GET", "http.status_code": 200, "http.target": "/buy?x=1"}


def attributes(values: Mapping[str, str | int | bool]) -> list[KeyValue]:
    kinds = {str: "string_value", int: "int_value", bool: "bool_value"}
    return [KeyValue(key=key, value=AnyValue(**{kinds[type(value)]: value})) for key, value in values.items()]


def server_span(
    number: int = 1,
    values: Mapping[str, str | int | bool] = STABLE,
    *,
    end_us: int = NOW_US,
    duration_us: int = 250_000,
    kind: Span.SpanKind = Span.SpanKind.SPAN_KIND_SERVER,
    error: bool = False,
    exception: bool = False,
    trace_state: str = "",
) -> Span:
    code = Status.StatusCode.STATUS_CODE_ERROR if error else Status.StatusCode.STATUS_CODE_UNSET
    return Span(
        trace_id=number.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        name="GET /buy",
        kind=kind,
        start_time_unix_nano=(end_us - duration_us) * 1_000,
        end_time_unix_nano=end_us * 1_000,
        attributes=attributes(values),
        status=Status(code=code),
        events=[Span.Event(name="exception")] if exception else [],
        trace_state=trace_state,
    )


def export(*spans: Span, names: Mapping[str, str] = NAMES) -> ExportTraceServiceRequest:
    resource = ResourceSpans(
        resource=Resource(attributes=attributes(names)), scope_spans=[ScopeSpans(spans=spans)]
    )
    return ExportTraceServiceRequest(resource_spans=[resource])
