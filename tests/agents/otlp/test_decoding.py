"""Bodies: both encodings, and what must not be sent again; also what would take much memory or time."""

import json
import tracemalloc

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.agents.otlp.exports import export, server_span

from endpoint_analytics.agents.otlp.decoding import (
    JSON,
    MAX_FIELDS,
    MAX_SPANS,
    MAX_WALKED,
    PROTOBUF,
    open_export,
)
from endpoint_analytics.agents.otlp.errors import BadBodyError

TRACE_ID, SPAN_ID = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"


def decoded(body, kind):
    """Return each resource with its spans."""
    return [(part.resource(), list(part.spans())) for part in open_export(body, kind)]


def test_protobuf():
    message = export(server_span(1), server_span(2))
    (sent,) = message.resource_spans
    assert decoded(message.SerializeToString(), PROTOBUF) == [
        (sent.resource, list(sent.scope_spans[0].spans))
    ]


@pytest.mark.parametrize("spell", [str, str.upper])
def test_json_has_hexadecimal_ids(spell):
    """As in the specification's example; enumerations are numbers, 64-bit numbers may be text."""
    body = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": spell(TRACE_ID),
                                "spanId": spell(SPAN_ID),
                                "parentSpanId": "",
                                "kind": 2,
                                "startTimeUnixNano": "1544712660000000000",
                                "endTimeUnixNano": 1544712661000000000,
                                "attributes": [{"key": "http.status_code", "value": {"intValue": "200"}}],
                                "aFieldOfTheFuture": {"x": [1]},
                            }
                        ]
                    }
                ],
            }
        ]
    }
    ((resource, (span,)),) = decoded(json.dumps(body).encode(), JSON)
    assert resource.attributes[0].value.string_value == "s"
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id) == (TRACE_ID, SPAN_ID, b"")
    assert (span.kind, span.end_time_unix_nano - span.start_time_unix_nano) == (2, 10**9)
    assert span.attributes[0].value.int_value == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"\xff\xff\xff", PROTOBUF, 400),
        (b"{", JSON, 400),
        (b"\xff", JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"\x0a\x05\x12\x00", PROTOBUF, 400),
        (b"\x0a\x04\x12\x02\x12\x01", PROTOBUF, 400),
        (b"\x0a\x06\x12\x04\x12\x02\x0a\x09", PROTOBUF, 400),
        (b"\x0b\x0c", PROTOBUF, 400),
        (b"[]", JSON, 400),
        (b"null", JSON, 400),
        (b'{"resourceSpans": [7]}', JSON, 400),
        (b'{"resourceSpans": [{"resource": [1]}]}', JSON, 400),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": {}}]}]}]}', JSON, 400),
        (b'{"resourceSpans": 7}', JSON, 400),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}', JSON, 400),
        (b"", "text/plain", 415),
    ],
)
def test_bad_bodies(body, kind, status):
    with pytest.raises(BadBodyError) as caught:
        decoded(body, kind)
    assert caught.value.status == status


@pytest.mark.parametrize("part", [b"\x0a\x00", b"\x0a\x04\x12\x00\x12\x00"], ids=["resources", "scopes"])
def test_more_parts_than_any_exporter_sends(part):
    """Two bytes each: they would take seconds and much memory."""
    with pytest.raises(BadBodyError, match="more than 20000 resources and scopes") as error:
        open_export(part * 21_000, PROTOBUF)
    assert error.value.status == 413


def test_fields_may_come_in_any_order_and_be_unknown():
    message = export(server_span())
    unknown = b"\xfa\x3e\x03abc" + b"\xf8\x3e\x96\x01" + b"\xf9\x3e12345678" + b"\xfd\x3e1234"
    body = unknown + message.SerializeToString() + unknown
    assert decoded(body, PROTOBUF) == decoded(message.SerializeToString(), PROTOBUF)


def length_delimited(tag: int, content: bytes) -> bytes:
    size, text = len(content), bytes([tag])
    while size >= 128:
        text += bytes([size & 127 | 128])
        size >>= 7
    return text + bytes([size]) + content


SPANS = length_delimited(0x0A, length_delimited(0x12, b"\x12\x00" * 8_000_000))
ATTRIBUTES = length_delimited(0x0A, length_delimited(0x12, length_delimited(0x12, b"\x4a\x00" * 8_000_000)))
RESOURCE = length_delimited(0x0A, length_delimited(0x0A, b"\x0a\x00" * 8_000_000))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (export(*[Span()] * (MAX_SPANS + 1)).SerializeToString(), f"more than {MAX_SPANS} spans"),
        (SPANS, f"more than {MAX_SPANS} spans"),
        (b"\xf8\x3e\x01" * 5_000_000, f"more than {MAX_WALKED} fields in one export"),
        (ATTRIBUTES, f"more than {MAX_FIELDS} fields in one span"),
        (RESOURCE, f"more than {MAX_FIELDS} fields in one resource"),
    ],
    ids=[
        "too many spans",
        "empty spans",
        "unknown fields",
        "attributes of a span",
        "attributes of a resource",
    ],
)
def test_millions_of_empty_messages_are_refused_before_they_take_memory(body, why):
    """They would take a hundred bytes each where they are decoded, beside Python's memory that is traced here."""
    tracemalloc.start()
    try:
        with pytest.raises(BadBodyError, match=why) as error:
            decoded(body, PROTOBUF)
        assert tracemalloc.get_traced_memory()[1] < 150_000_000
    finally:
        tracemalloc.stop()
    assert error.value.status == 413


def test_fields_are_counted_however_deep_they_are():
    nested = AnyValue(
        kvlist_value=KeyValueList(values=[KeyValue(key=f"{number:016}") for number in range(MAX_FIELDS)])
    )
    span = server_span()
    span.events.add(name="e").attributes.append(KeyValue(key="k", value=nested))
    with pytest.raises(BadBodyError, match="fields in one span"):
        decoded(export(span).SerializeToString(), PROTOBUF)


def test_a_long_text_is_one_field():
    span = server_span(values={"gen_ai.prompt": "x" * 2_000_000})
    ((_, spans),) = decoded(export(span).SerializeToString(), PROTOBUF)
    assert spans == [span]


def test_many_small_objects_of_json():
    with pytest.raises(BadBodyError, match="more than 1000000 objects and lists") as error:
        open_export(b'{"resourceSpans":[' + b"{}," * 1_100_000 + b"{}]}", JSON)
    assert error.value.status == 413
