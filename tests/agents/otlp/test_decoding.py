"""Bodies: both encodings, gzip within its limit, and what must not be sent again."""

import gzip
import json

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.agents.otlp.exports import export, server_span

from endpoint_analytics.agents.otlp.decoding import (
    JSON,
    PROTOBUF,
    BadBodyError,
    decode_request,
    encode_response,
    encode_status,
    plain_body,
)

TRACE_ID, SPAN_ID = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"


def test_protobuf():
    message = export(server_span())
    assert decode_request(message.SerializeToString(), PROTOBUF) == message


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
    ((resource,),) = (decode_request(json.dumps(body).encode(), JSON).resource_spans,)
    (span,) = resource.scope_spans[0].spans
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
        (b'{"resourceSpans": 7}', JSON, 400),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}', JSON, 400),
        (b"", "text/plain", 415),
    ],
)
def test_bad_bodies(body, kind, status):
    with pytest.raises(BadBodyError) as caught:
        decode_request(body, kind)
    assert caught.value.status == status


def test_gzip():
    assert plain_body(gzip.compress(b"x" * 100), "gzip", 100) == b"x" * 100
    assert plain_body(b"x", "identity", 100) == plain_body(b"x", "", 100) == b"x"


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(b"x" * 101, mtime=0), "gzip", 413),
        (gzip.compress(bytes(100_000_000), mtime=0), "gzip", 413),
        (gzip.compress(b"x" * 50, mtime=0)[:-4], "gzip", 400),
        (gzip.compress(b"x", mtime=0) + b"more", "gzip", 400),
        (b"plain", "gzip", 400),
        (b"x", "br", 415),
    ],
)
def test_bad_encodings(body, encoding, status):
    with pytest.raises(BadBodyError) as caught:
        plain_body(body, encoding, 100)
    assert caught.value.status == status


def test_responses():
    assert encode_response(0, "", PROTOBUF) == b""
    assert encode_response(0, "", JSON) == b"{}"
    partial = ExportTraceServiceResponse.FromString(encode_response(3, "why", PROTOBUF)).partial_success
    assert (partial.rejected_spans, partial.error_message) == (3, "why")
    parsed = json_format.Parse(encode_response(3, "why", JSON), ExportTraceServiceResponse())
    assert parsed.partial_success == partial


@pytest.mark.parametrize("length", [0, 127, 128, 20_000])
def test_errors_are_a_status_message(length):
    """Field 2 of google.rpc.Status: that of a partial success has the same number and type."""
    text = "ü" + "x" * length
    read = ExportTraceServiceResponse().partial_success.__class__.FromString(encode_status(text, PROTOBUF))
    assert read.error_message == text[: 16_383 - 1]
    assert json.loads(encode_status(text, JSON)) == {"message": text}


@pytest.mark.parametrize("part", [b"\x0a\x00", b"\x0a\x04\x12\x00\x12\x00"], ids=["resources", "scopes"])
def test_more_parts_than_any_exporter_sends(part):
    """Two bytes each: they would take seconds and much memory."""
    with pytest.raises(BadBodyError, match="more than 20000 resources and scopes") as error:
        decode_request(part * 21_000, PROTOBUF)
    assert error.value.status == 413
