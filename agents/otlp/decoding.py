"""Decodes a request body into OTLP's export message, within a limit of bytes. Pure.

https://opentelemetry.io/docs/specs/otlp/: binary protobuf or JSON, either of them gzipped. In OTLP's JSON, ids are
hexadecimal, unlike in protobuf's JSON mapping; unknown fields are ignored.
"""

from __future__ import annotations

import base64
import zlib

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_PARTS = 20_000
"""Resources and scopes in one export, which have no spans of their own to be counted by: they take time and memory."""
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class BadBodyError(Exception):
    """A body that must not be sent again; `status` is the HTTP status that says so."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def plain_body(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the body without its content encoding; raises BadBodyError, also if it is larger than `max_bytes`."""
    if encoding in {"", "identity"}:
        return body
    if encoding != "gzip":
        raise BadBodyError(415, f"the content encoding {encoding[:32]!r} is not supported: send gzip or none")
    reader = zlib.decompressobj(_GZIP_WINDOW)
    try:
        plain = reader.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BadBodyError(400, f"the body is not valid gzip: {error}") from error
    if len(plain) > max_bytes:
        raise BadBodyError(413, f"the decompressed body is larger than {max_bytes} bytes")
    if not reader.eof or reader.unused_data:
        raise BadBodyError(400, "the gzip body is truncated, or followed by other bytes")
    return plain


def decode_request(body: bytes, content_type: str) -> ExportTraceServiceRequest:
    """Return the export request in an uncompressed body; raises BadBodyError."""
    request = ExportTraceServiceRequest()
    try:
        if content_type == PROTOBUF:
            request.ParseFromString(body)
            _check_parts(request)
        elif content_type == JSON:
            json_format.Parse(body.decode(), request, ignore_unknown_fields=True)
            _check_parts(request)
            _repair_ids(request)
        else:
            raise BadBodyError(
                415, f"the content type {content_type[:64]!r} is not supported: send {PROTOBUF} or {JSON}"
            )
    except (DecodeError, json_format.ParseError, ValueError, RecursionError) as error:
        raise BadBodyError(
            400, f"the body is not an ExportTraceServiceRequest: {str(error)[:200]}"
        ) from error
    return request


def _check_parts(request: ExportTraceServiceRequest) -> None:
    """Raise BadBodyError if there are more resources and scopes than any exporter sends at once."""
    parts = len(request.resource_spans)
    if parts <= MAX_PARTS:
        parts += sum(len(resource.scope_spans) for resource in request.resource_spans)
    if parts > MAX_PARTS:
        raise BadBodyError(413, f"more than {MAX_PARTS} resources and scopes in one export")


def _repair_ids(request: ExportTraceServiceRequest) -> None:
    """Turn the ids from what protobuf's mapping made of them, base64, into what OTLP's JSON says, hexadecimal."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                span.trace_id = _from_hex(span.trace_id)
                span.span_id = _from_hex(span.span_id)
                span.parent_span_id = _from_hex(span.parent_span_id)


def _from_hex(misread: bytes) -> bytes:
    return bytes.fromhex(base64.b64encode(misread).decode())


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
