"""The dialect of OpenAI's chat completions and completions: events with `choices`, and at last `[DONE]`.

vLLM, SGLang, llama.cpp, TGI, Azure and many more speak it. If the client asks for it, the usage comes in a last event
without choices (`stream_options.include_usage`), or in every event (`continuous_usage_stats` of vLLM and SGLang);
llama.cpp sends `timings` with the last event. Reasoning comes as `reasoning_content` (DeepSeek, SGLang, llama.cpp,
vLLM) or `reasoning` (OpenRouter, newer vLLM).

Sources: platform.openai.com/docs/api-reference/chat-streaming and /completions; docs.vllm.ai/en/latest/serving
(OpenAI-compatible server); docs.sglang.ai (OpenAI APIs); llama.cpp, tools/server/README.md.
"""

from __future__ import annotations

from typing import Any

import msgspec

from endpoint_analytics.agents.outcome.event_facts import END, UNREADABLE, EventFacts, Junk, is_error
from endpoint_analytics.agents.outcome.usage import UsageMembers, usage_of_timings

DONE = b"[DONE]"


class _Delta(msgspec.Struct, frozen=True, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None
    audio: Any = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    delta: _Delta | None = None
    text: Any = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct, frozen=True, gc=False):
    choices: list[_Choice]
    model: Any = None
    usage: UsageMembers | Junk = None
    error: Any = None
    timings: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


def read_chat(_name: bytes, data: bytes) -> EventFacts | None:
    """Return what the event says, None if it does not fit.

    A `finish_reason` is an end too: not all servers send `[DONE]`. Of several choices, one may end before the others
    do; content that follows an end shows that it was not the stream's.
    """
    try:
        chunk = _decode(data)
    except UNREADABLE:
        return END if data.strip() == DONE else None
    content = has_end = is_open = False
    has_failed = chunk.error is not None and is_error(chunk.error)
    for choice in chunk.choices:
        delta = choice.delta
        if delta is None:
            content = content or bool(choice.text)
        elif delta.content or _has_content(delta):
            content = True
        if not choice.finish_reason:
            is_open = True
        else:
            has_end = True
            has_failed = has_failed or choice.finish_reason == "error"
    usage = chunk.usage
    if usage is None and chunk.timings is not None:
        usage = usage_of_timings(chunk.timings)
    return EventFacts(content, has_end and not is_open, has_failed, usage, chunk.model)


def _has_content(delta: _Delta) -> bool:
    """Return whether it carries any part of the answer but `content`."""
    if delta.reasoning_content or delta.reasoning or delta.tool_calls:
        return True
    audio = delta.audio
    if isinstance(audio, dict) and (audio.get("data") or audio.get("transcript")):
        return True
    return bool(delta.refusal or delta.function_call)
