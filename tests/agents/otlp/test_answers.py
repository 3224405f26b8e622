"""What the receiver answers, in both encodings."""

import json

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from endpoint_analytics.agents.otlp.answers import encode_response, encode_status
from endpoint_analytics.agents.otlp.decoding import JSON, PROTOBUF


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
