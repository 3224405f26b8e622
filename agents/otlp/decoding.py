"""Decodes a body, span by span: OTLP's export message as binary protobuf or JSON. Pure.

https://opentelemetry.io/docs/specs/otlp/. Nothing is decoded before it is known to be small, and one span at a time: a
body of empty messages would take fifty times its size in memory. In OTLP's JSON, ids are hexadecimal, unlike in
protobuf's JSON mapping; unknown fields are ignored.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from endpoint_analytics.agents.otlp.errors import BadBodyError
from endpoint_analytics.agents.otlp.wire import Shape, TooManyFieldsError, Walk, WireError

Decoded = TypeVar("Decoded")
PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_PARTS = 20_000
"""Resources and scopes in one export."""
MAX_SPANS = 100_000
MAX_WALKED = MAX_SPANS + 10 * MAX_PARTS
"""Fields of one export that are not in a span or resource."""
MAX_FIELDS = 10_000
"""Fields of one span or resource, with all inside; those of up to SMALL_BYTES are not counted."""
SMALL_BYTES = 64 * 1024
MAX_JSON_OBJECTS = 1_000_000
"""Objects and lists in one body of JSON: an attribute has two."""

_RESOURCES, _RESOURCE, _SCOPES, _SPANS = (
    1,
    1,
    2,
    2,
)  # numbers of fields of export, resource spans, scope spans
_VALUE: dict[int, Shape] = {}
_ATTRIBUTE: Shape = {2: _VALUE}
_VALUE |= {5: {1: _VALUE}, 6: {1: _ATTRIBUTE}}
_SPAN: Shape = {9: _ATTRIBUTE, 11: {3: _ATTRIBUTE}, 13: {4: _ATTRIBUTE}}
_RESOURCE_SHAPE: Shape = {1: _ATTRIBUTE, 3: {}}


@dataclass(frozen=True, slots=True)
class ResourceSpans:
    """A resource and its spans, each still as it came. Both methods raise BadBodyError."""

    _encoded: Any
    _encoded_spans: list[Any]
    _decode_resource: Callable[[Any], Resource]
    _decode_span: Callable[[Any], Span]

    def resource(self) -> Resource:
        """Decode the resource."""
        return next(self._decoded(self._decode_resource, [self._encoded]))

    def spans(self) -> Iterator[Span]:
        """Decode the spans, one after the other."""
        return self._decoded(self._decode_span, self._encoded_spans)

    def _decoded(self, decode: Callable[[Any], Decoded], encoded: list[Any]) -> Iterator[Decoded]:
        try:
            yield from map(decode, encoded)
        except (DecodeError, json_format.ParseError, WireError, ValueError, RecursionError) as error:
            raise _invalid(error) from error


def open_export(body: bytes, content_type: str) -> list[ResourceSpans]:
    """Return what is in an uncompressed body, not decoded yet; raises BadBodyError."""
    try:
        if content_type == PROTOBUF:
            return _open_protobuf(body)
        if content_type == JSON:
            return _open_json(body)
    except (WireError, ValueError) as error:
        raise _invalid(error) from error
    raise BadBodyError(
        415, f"the content type {content_type[:64]!r} is not supported: send {PROTOBUF} or {JSON}"
    )


def _open_protobuf(body: bytes) -> list[ResourceSpans]:
    found: list[ResourceSpans] = []
    decode_resource = partial(_from_wire, Resource, _RESOURCE_SHAPE, body)
    decode_span = partial(_from_wire, Span, _SPAN, body)
    parts = spans = 0
    walk = Walk(body, MAX_WALKED)
    try:
        for field, *resource_spans in walk.fields(0, len(body)):
            if field != _RESOURCES:
                continue
            parts = _counted(parts)
            resource, own = (0, 0), list[tuple[int, int]]()
            for part, start, end in walk.fields(*resource_spans):
                if part == _RESOURCE:
                    resource = start, end
                elif part == _SCOPES:
                    parts = _counted(parts)
                    most = MAX_SPANS - spans - len(own)
                    own += islice(_spans(walk, start, end), most + 1)
                    if len(own) > MAX_SPANS - spans:
                        raise _too_many_spans()
            spans += len(own)
            found.append(ResourceSpans(resource, own, decode_resource, decode_span))
    except TooManyFieldsError as error:
        raise BadBodyError(413, f"{error} in one export, beside those of spans") from error
    return found


def _spans(walk: Walk, start: int, end: int) -> Iterator[tuple[int, int]]:
    return ((at, to) for field, at, to in walk.fields(start, end) if field == _SPANS)


def _from_wire(kind: type[Message], shape: Shape, body: bytes, where: tuple[int, int]) -> Any:
    start, end = where
    if end - start > SMALL_BYTES:
        try:
            Walk(body, MAX_FIELDS).count(start, end, shape)
        except TooManyFieldsError as error:
            raise BadBodyError(413, f"{error} in one {kind.DESCRIPTOR.name.lower()}") from error
    return kind.FromString(body[start:end])


def _open_json(body: bytes) -> list[ResourceSpans]:
    if body.count(b"{") + body.count(b"[") > MAX_JSON_OBJECTS:
        raise BadBodyError(413, f"more than {MAX_JSON_OBJECTS} objects and lists in one export")
    found: list[ResourceSpans] = []
    parts = spans = 0
    for resource_spans in _objects(orjson.loads(body), "resourceSpans", "resource_spans"):
        parts = _counted(parts)
        own: list[dict[str, Any]] = []
        for scope in _objects(resource_spans, "scopeSpans", "scope_spans"):
            parts = _counted(parts)
            own += _objects(scope, "spans")
        spans += len(own)
        if spans > MAX_SPANS:
            raise _too_many_spans()
        resource = resource_spans.get("resource") or {}
        if not isinstance(resource, dict):
            raise ValueError("resource is not an object")
        found.append(ResourceSpans(resource, own, _resource_from_json, _span_from_json))
    return found


def _objects(of: object, *names: str) -> list[dict[str, Any]]:
    """Return the objects of a list, which the field of any of these names is; raises ValueError."""
    if not isinstance(of, Mapping):
        raise ValueError(f"an object with {names[0]} was expected")
    found: object = next((of[name] for name in names if of.get(name) is not None), [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{names[0]} is not a list of objects")
    return found


def _resource_from_json(value: dict[str, Any]) -> Resource:
    return json_format.ParseDict(value, Resource(), ignore_unknown_fields=True)


def _span_from_json(value: dict[str, Any]) -> Span:
    """Turn the ids from what protobuf's mapping made of them, base64, into what OTLP's JSON says, hexadecimal."""
    span = json_format.ParseDict(value, Span(), ignore_unknown_fields=True)
    span.trace_id = _from_hex(span.trace_id)
    span.span_id = _from_hex(span.span_id)
    span.parent_span_id = _from_hex(span.parent_span_id)
    return span


def _from_hex(misread: bytes) -> bytes:
    return bytes.fromhex(base64.b64encode(misread).decode())


def _counted(parts: int) -> int:
    if parts >= MAX_PARTS:
        raise BadBodyError(413, f"more than {MAX_PARTS} resources and scopes in one export")
    return parts + 1


def _too_many_spans() -> BadBodyError:
    return BadBodyError(413, f"more than {MAX_SPANS} spans in one export")


def _invalid(error: Exception) -> BadBodyError:
    return BadBodyError(400, f"the body is not an ExportTraceServiceRequest: {str(error)[:200]}")
