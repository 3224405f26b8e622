"""Which reader a response's body needs, by its status and headers. The only entrance to this room.

A response that is streamed as events, or whose JSON may name tokens and a model, has a reader; any other has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from endpoint_analytics.agents.outcome.answer_reader import AnswerReader
from endpoint_analytics.agents.outcome.body_facts import BodyFacts
from endpoint_analytics.agents.outcome.event_stream import NdjsonEvents, SseEvents
from endpoint_analytics.agents.outcome.stream_reader import StreamReader

_SSE = b"text/event-stream"
# There is no registered type for JSON lines. `stream+json` is Spring's; `json-seq` is RFC 7464's.
_JSON_LINES = frozenset({
    b"application/x-ndjson",
    b"application/ndjson",
    b"application/jsonl",
    b"application/x-jsonl",
    b"application/jsonlines",
    b"application/x-jsonlines",
    b"application/json-lines",
    b"application/json-seq",
    b"application/stream+json",
    b"application/x-json-stream",
})  # fmt: skip
_IDENTITY = frozenset({b"", b"identity"})


class ResponseReader(Protocol):
    """Reads one response. Neither method raises."""

    def read(self, piece: bytes, at_ns: int) -> None:
        """Read a piece of the body that was sent at this monotonic time."""

    def end(self) -> BodyFacts:
        """Return the facts. Call it once, when the body has ended or broken off."""


def reader_for(
    status: int, content_type: bytes, content_encoding: bytes, report: Callable[[Exception], None]
) -> ResponseReader | None:
    """Return the reader for a response with these headers (empty where missing), None if there is nothing to read.

    The events of an encoded stream cannot be read, but its bytes are timed; an encoded answer, or one that reports an
    error by its status, has no reader. `report` gets exceptions that are bugs of ours, such as
    `agents/middleware/harmless.report_bug`; of one response, at most one or two.
    """
    media_type = content_type.partition(b";")[0].strip().lower()
    is_plain = content_encoding.strip().lower() in _IDENTITY
    if media_type == _SSE:
        return StreamReader(SseEvents() if is_plain else None, report)
    if media_type in _JSON_LINES or media_type.endswith(b"+json-seq"):
        return StreamReader(NdjsonEvents() if is_plain else None, report)
    if is_plain and status < 400 and (media_type == b"application/json" or media_type.endswith(b"+json")):
        return AnswerReader(report)
    return None
