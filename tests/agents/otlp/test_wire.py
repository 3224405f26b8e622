"""The walk past protobuf's wire form: it finds what protobuf finds, and nothing makes it fail in another way."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from tests.agents.otlp.exports import server_span

from endpoint_analytics.agents.otlp.decoding import PROTOBUF, open_export
from endpoint_analytics.agents.otlp.errors import BadBodyError
from endpoint_analytics.agents.otlp.wire import TooManyFieldsError, Walk, WireError

SCOPES = st.lists(st.lists(st.integers(1, 2**60), max_size=4), max_size=3)


@given(st.lists(SCOPES, max_size=4))
def test_it_finds_each_span_of_an_export(resources):
    message = ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                schema_url="https://example.com",
                scope_spans=[
                    ScopeSpans(spans=map(server_span, numbers), schema_url="x" * 200) for numbers in scopes
                ],
            )
            for scopes in resources
        ]
    )
    found = [list(part.spans()) for part in open_export(message.SerializeToString(), PROTOBUF)]
    assert found == [
        [span for scope in resource.scope_spans for span in scope.spans]
        for resource in message.resource_spans
    ]


@given(st.binary(max_size=60))
def test_whatever_comes_is_read_or_refused(noise):
    span = b"\x12" + bytes([len(noise)]) + noise
    scope = b"\x12" + bytes([len(span)]) + span
    for body in (noise, b"\x0a" + bytes([len(noise)]) + noise, b"\x0a" + bytes([len(scope)]) + scope):
        with suppress(BadBodyError):
            for part in open_export(body, PROTOBUF):
                part.resource()
                list(part.spans())


def test_fields_are_counted_up_to_the_limit():
    span = server_span(values={"a": "b", "c": "d"}).SerializeToString()
    walk = Walk(span, 1_000)
    walk.count(0, len(span), {9: {2: {}}})
    taken = 1_000 - walk.left
    assert taken == 7 + 2 * 4  # each attribute is a field with a key and a value, and that has a content
    Walk(span, taken).count(0, len(span), {9: {2: {}}})
    with pytest.raises(TooManyFieldsError, match=f"more than {taken - 1} fields"):
        Walk(span, taken - 1).count(0, len(span), {9: {2: {}}})


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x08" + b"\xff" * 11, b"\x0d123", b"\x09123", b"\x0a\x05x", b"\x0b", b"\x0f"]
)
def test_what_is_not_the_wire_form(data):
    with pytest.raises(WireError):
        list(Walk(data, 10).fields(0, len(data)))
