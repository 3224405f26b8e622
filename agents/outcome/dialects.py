"""Which dialect a stream speaks. Recognised by the data of its first events, not by the path of the request.

A dialect's reader returns what an event says, or None for one that does not fit: `read_other` then reads it as another
dialect's, or as anything else's. Readers raise nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from endpoint_analytics.agents.outcome.anthropic_messages import KINDS, read_message
from endpoint_analytics.agents.outcome.engine_events import read_llama_cpp, read_ollama, read_tgi
from endpoint_analytics.agents.outcome.event_facts import (
    CONTENT,
    END,
    ERROR,
    NOTHING,
    UNREADABLE,
    EventFacts,
    Junk,
    is_error,
)
from endpoint_analytics.agents.outcome.openai_chat import DONE, read_chat
from endpoint_analytics.agents.outcome.openai_typed import PREFIXES, read_typed
from endpoint_analytics.agents.outcome.usage import UsageMembers

ReadEvent = Callable[[bytes, bytes], EventFacts | None]

_SILENT = frozenset({b"ping", b"heartbeat", b"keepalive", b"keep-alive"})
"""Names of events that only keep a connection open."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way of writing events. `has_end`: it ends each stream with an event that says so."""

    name: str
    read: ReadEvent
    has_end: bool = True


class _AnyEvent(msgspec.Struct, frozen=True, gc=False):
    type: Any = None
    object: Any = None
    error: Any = None
    usage: UsageMembers | Junk = None
    model: Any = None


_decode_any = msgspec.json.Decoder(_AnyEvent).decode
_decode_untyped = msgspec.json.Decoder().decode


def read_any(name: bytes, data: bytes) -> EventFacts:
    """Return what the event of no known dialect says: it is content, unless it reports an error or only the usage."""
    if name in _SILENT or not data:
        return NOTHING
    if data[:1] != b"{":
        if name == b"error":
            return ERROR
        return END if data.strip() == DONE else CONTENT
    try:
        event = _decode_any(data)
    except UNREADABLE:
        return ERROR if name == b"error" else CONTENT
    if event.model is event.error is event.usage is event.type is event.object is None and not name:
        return CONTENT
    has_failed = name == b"error" or event.type == "error" or event.object == "error" or is_error(event.error)
    content = not has_failed and not isinstance(event.usage, UsageMembers)
    return EventFacts(content, False, has_failed, event.usage, event.model)


CHAT = Dialect("OpenAI chat", read_chat)
TYPED = Dialect("OpenAI typed", read_typed)
ANTHROPIC = Dialect("Anthropic", read_message)
TGI = Dialect("TGI", read_tgi)
OLLAMA = Dialect("Ollama", read_ollama)
LLAMA_CPP = Dialect("llama.cpp", read_llama_cpp)
OTHER = Dialect("other", read_any, has_end=False)


def recognise(data: bytes) -> Dialect | None:
    """Return the dialect of an event with this data, None if it could be of any."""
    if data[:1] != b"{":
        return None
    try:
        members: dict[str, Any] = _decode_untyped(data)
    except UNREADABLE:
        return None
    kind = members.get("type")
    if isinstance(members.get("choices"), list):
        return CHAT
    if isinstance(kind, str) and kind in KINDS:
        return ANTHROPIC
    if isinstance(kind, str) and kind.startswith(PREFIXES):
        return TYPED
    if isinstance(members.get("token"), dict):
        return TGI
    if isinstance(members.get("done"), bool) and members.keys() & {"message", "response", "done_reason"}:
        return OLLAMA
    if isinstance(members.get("content"), str) and isinstance(members.get("stop"), bool):
        return LLAMA_CPP
    return None


def read_other(name: bytes, data: bytes) -> EventFacts:
    """Return what an event says that does not fit its stream's dialect."""
    dialect = recognise(data)
    return (dialect and dialect.read(name, data)) or read_any(name, data)
