"""The dialect of OpenAI's typed events: the Responses API, and the streams of transcriptions, speech and images.

Each event has a `type`. Those that end in `.delta` carry content, of whatever kind: text, reasoning, arguments of a
call, audio. The last event of a response has all of it again, with its usage.

Sources: platform.openai.com/docs/api-reference/responses-streaming, /audio (transcript.text.*, speech.audio.*) and
/images-streaming.
"""

from __future__ import annotations

from typing import Any

import msgspec

from endpoint_analytics.agents.outcome.event_facts import END, UNREADABLE, EventFacts, Junk
from endpoint_analytics.agents.outcome.openai_chat import DONE
from endpoint_analytics.agents.outcome.usage import UsageMembers

PREFIXES = ("response.", "transcript.", "speech.", "image_generation.", "image_edit.")
"""The types of these events begin with one of them."""

_IMAGES = frozenset({"image_generation.completed", "image_edit.completed"})
_ENDS = _IMAGES | {
    "response.completed",
    "response.incomplete",
    "response.failed",
    "transcript.text.done",
    "speech.audio.done",
}
_ERRORS = frozenset({"error", "response.failed"})


class _Response(msgspec.Struct, frozen=True, gc=False):
    model: Any = None
    usage: UsageMembers | Junk = None


class _TypedEvent(msgspec.Struct, frozen=True, gc=False):
    type: str
    delta: Any = None
    response: _Response | Junk = None
    usage: UsageMembers | Junk = None


_decode = msgspec.json.Decoder(_TypedEvent).decode


def read_typed(_name: bytes, data: bytes) -> EventFacts | None:
    """Return what the event says, None if it does not fit. `error` alone is an error, not an end."""
    try:
        event = _decode(data)
    except UNREADABLE:
        return END if data.strip() == DONE else None
    kind = event.type
    if kind.endswith(".delta"):
        return EventFacts(event.delta != "")
    usage, model = event.usage, None
    response = event.response
    if isinstance(response, _Response):
        usage, model = response.usage, response.model
    return EventFacts(
        content=kind.endswith(".partial_image") or kind in _IMAGES,
        is_end=kind in _ENDS,
        is_error=kind in _ERRORS,
        usage=usage,
        model=model,
    )
