"""Reads an export: what each of its spans tells, and whose it is; remembers nothing. Pure: `now_us` is an argument.

Large exports take seconds, so `read_export` is done in steps, between which others may run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from msgspec.structs import replace
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from endpoint_analytics.agents.core.exclusion import is_excluded, path_of
from endpoint_analytics.agents.log.batching import OLDEST_US
from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.otlp.decoding import ResourceSpans
from endpoint_analytics.agents.otlp.errors import BadBodyError
from endpoint_analytics.agents.otlp.identity import ATTRIBUTES, Fixed, Identity, identify
from endpoint_analytics.agents.otlp.sampling import sampled_share
from endpoint_analytics.agents.otlp.spans import SERVER, read_request, read_response_start, texts_of

STEP_SPANS, STEP_ATTRIBUTES = 256, 10_000
"""What one step reads, about; a few milliseconds."""
MAX_ATTRIBUTES = 1_000_000
"""Attributes and events of all spans of an export."""


class FoundRequest(NamedTuple):
    """A request; `key` tells its span from others. `fault` is why it cannot be counted, "" if it can.

    `share` is which share of traces was kept, None if the span does not say.
    """

    key: bytes
    request: Logged
    start_ns: int
    fault: str
    share: float | None


class ResponseStart(NamedTuple):
    """When the response of the span with the key started, in nanoseconds since 1970."""

    key: bytes
    started_ns: int


@dataclass(slots=True)
class ResourceReading:
    """What the spans of one resource tell; `replica` is whose they are, or why they are nobody's."""

    replica: Identity | str
    requests: list[FoundRequest] = field(default_factory=list)
    starts: list[ResponseStart] = field(default_factory=list)


@dataclass(slots=True)
class Reading:
    """An export; `ignored` spans are not requests: of another kind, not about HTTP, or for an excluded path."""

    resources: list[ResourceReading] = field(default_factory=list)
    ignored: int = 0


def read_export(
    export: Iterable[ResourceSpans], fixed: Fixed, excluded: AbstractSet[str], now_us: int
) -> Generator[None, None, Reading]:
    """Yield after each step; return what the export tells. Raises BadBodyError."""
    reading = Reading()
    spans = attributes = in_step = 0
    for part in export:
        texts = texts_of(part.resource().attributes, ATTRIBUTES)
        replica = identify({name: str(text) for name, text in texts.items()}, fixed)
        found = ResourceReading(replica)
        reading.resources.append(found)
        owner = _owner(replica)
        for span in part.spans():
            spans += 1
            number = len(span.attributes) + len(span.events)
            attributes, in_step = attributes + number, in_step + number
            if attributes > MAX_ATTRIBUTES:
                raise BadBodyError(413, f"more than {MAX_ATTRIBUTES} attributes and events in one export")
            if not _read_span(span, owner, excluded, now_us, found):
                reading.ignored += 1
            if not spans % STEP_SPANS or in_step > STEP_ATTRIBUTES:
                in_step = 0
                yield
    return reading


def _read_span(
    span: Span, owner: bytes, excluded: AbstractSet[str], now_us: int, found: ResourceReading
) -> bool:
    """Note what the span tells; return whether it is a request."""
    if span.kind != SERVER:
        if (started_ns := read_response_start(span)) is not None:
            found.starts.append(ResponseStart(owner + span.trace_id + span.parent_span_id, started_ns))
        return False
    request = read_request(span, None)
    if request is None or (excluded and request.target and is_excluded(path_of(request.target), excluded)):
        return False
    found.requests.append(
        FoundRequest(
            owner + span.trace_id + span.span_id,
            replace(request, target=None),  # it was only needed here, and may be long
            span.start_time_unix_nano,
            found.replica if isinstance(found.replica, str) else _fault(span, request, now_us),
            sampled_share(span.trace_state),
        )
    )
    return True


def _owner(replica: Identity | str) -> bytes:
    """Return what distinguishes the ids of a replica's spans: another sender may use the same ones, on purpose, too."""
    if isinstance(replica, str):
        return b""
    return blake2b("\0".join(replica).encode(), digest_size=8).digest()


def _fault(span: Span, request: Logged, now_us: int) -> str:
    """Return why the span cannot be counted, "" if it can."""
    if len(span.trace_id) != 16 or len(span.span_id) != 8:
        return "no_ids"
    if not span.end_time_unix_nano:
        return "no_end"
    return "too_old" if (request.end_us or 0) < now_us - OLDEST_US else ""
