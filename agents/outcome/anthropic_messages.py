"""The dialect of Anthropic's messages: `message_start`, deltas of content blocks, `message_delta`, `message_stop`.

The start has the model and the tokens of the input, and a first count of the output, which is not the answer's: it is
left out. The `message_delta` near the end has the whole output (its counts are cumulative), and may correct the input.

Source: docs.anthropic.com/en/docs/build-with-claude/streaming. llama.cpp, vLLM and Ollama speak it too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from endpoint_analytics.agents.outcome.event_facts import (
    END,
    ERROR,
    NOTHING,
    UNREADABLE,
    EventFacts,
    Junk,
)
from endpoint_analytics.agents.outcome.usage import UsageMembers

KINDS = frozenset({
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "ping",
})  # fmt: skip
"""The types of these events; `error` is another one, which others share."""

_CONTENT = EventFacts(content=True)


class _Delta(msgspec.Struct, frozen=True, gc=False):
    text: Any = None
    thinking: Any = None
    partial_json: Any = None


class _Message(msgspec.Struct, frozen=True, gc=False):
    model: Any = None
    usage: UsageMembers | Junk = None


class _MessageEvent(msgspec.Struct, frozen=True, gc=False):
    type: str
    delta: _Delta | Junk = None
    message: _Message | Junk = None
    usage: UsageMembers | Junk = None


_decode = msgspec.json.Decoder(_MessageEvent).decode


def read_message(_name: bytes, data: bytes) -> EventFacts | None:
    """Return what the event says, None if it does not fit. Signatures and citations are no content."""
    try:
        event = _decode(data)
    except UNREADABLE:
        return None
    kind = event.type
    if kind == "content_block_delta":
        delta = event.delta
        if isinstance(delta, _Delta) and (delta.text or delta.thinking or delta.partial_json):
            return _CONTENT
        return NOTHING
    if kind == "message_start":
        return _read_start(event.message)
    if kind == "message_delta":
        return EventFacts(content=False, usage=event.usage)
    if kind == "message_stop":
        return END
    return ERROR if kind == "error" else NOTHING


def _read_start(message: _Message | Junk) -> EventFacts:
    if not isinstance(message, _Message):
        return NOTHING
    usage = message.usage
    if isinstance(usage, UsageMembers):
        usage = usage.without_output()
    return EventFacts(content=False, usage=usage, model=message.model)
