"""Encodes what the receiver answers, in the encoding of the request. Pure."""

from __future__ import annotations

import orjson
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from endpoint_analytics.agents.otlp.decoding import JSON


def encode_response(rejected: int, why: str, content_type: str) -> bytes:
    """Return the body of a 200; a partial success if some spans were rejected."""
    response = ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = why
    if content_type == JSON:
        return json_format.MessageToJson(response, indent=None).encode()
    return bytes(response.SerializeToString())


def encode_status(why: str, content_type: str) -> bytes:
    """Return the body of an error: a google.rpc.Status with only its message (field 2)."""
    if content_type == JSON:
        return orjson.dumps({"message": why})
    text = why.encode()[:16_383]
    length = len(text)
    size = bytes((length,)) if length < 128 else bytes((length & 127 | 128, length >> 7))
    return b"\x12" + size + text
