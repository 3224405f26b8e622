"""The dialects of serving engines' own APIs: TGI's generate_stream, Ollama's chat and generate, llama.cpp's completion.

Each has its own members for a part of the answer, for the end and for the token counts.

Sources: huggingface.co/docs/text-generation-inference (openapi.json: StreamResponse, GenerateResponse); ollama,
docs/api.md; llama.cpp, tools/server/README.md (`POST /completion`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from endpoint_analytics.agents.outcome.event_facts import UNREADABLE, EventFacts, Junk, is_error
from endpoint_analytics.agents.outcome.usage import UsageMembers


class _Token(msgspec.Struct, frozen=True, gc=False):
    text: Any = None
    special: Any = None


class TgiDetails(msgspec.Struct, frozen=True, gc=False):
    """TGI's `details`. `prefill` is empty unless the client asked for it."""

    generated_tokens: Any = None
    input_length: Any = None
    prefill: Any = None

    def usage(self) -> UsageMembers:
        """Return its token counts."""
        prompt = self.input_length
        if prompt is None and isinstance(self.prefill, list) and self.prefill:
            prompt = len(self.prefill)
        return UsageMembers(prompt_tokens=prompt, completion_tokens=self.generated_tokens)


class _TgiEvent(msgspec.Struct, frozen=True, gc=False):
    token: _Token
    generated_text: Any = None
    details: TgiDetails | Junk = None
    error: Any = None


class _OllamaMessage(msgspec.Struct, frozen=True, gc=False):
    content: Any = None
    thinking: Any = None
    tool_calls: Any = None


class _OllamaEvent(msgspec.Struct, frozen=True, gc=False):
    done: bool
    message: _OllamaMessage | Junk = None
    response: Any = None
    thinking: Any = None
    model: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: Any = None


class _LlamaCppEvent(msgspec.Struct, frozen=True, gc=False):
    content: str
    stop: bool
    model: Any = None
    tokens_evaluated: Any = None
    tokens_predicted: Any = None
    timings: Any = None
    error: Any = None


_decode_tgi = msgspec.json.Decoder(_TgiEvent).decode
_decode_ollama = msgspec.json.Decoder(_OllamaEvent).decode
_decode_llama_cpp = msgspec.json.Decoder(_LlamaCppEvent).decode


def read_tgi(_name: bytes, data: bytes) -> EventFacts | None:
    """Return what TGI's event says, None if it does not fit. A special token (such as the end) is no content."""
    try:
        event = _decode_tgi(data)
    except UNREADABLE:
        return None
    details = event.details
    usage = details.usage() if isinstance(details, TgiDetails) else None
    return EventFacts(
        content=bool(event.token.text) and event.token.special is not True,
        is_end=usage is not None or event.generated_text is not None,
        is_error=is_error(event.error),
        usage=usage,
    )


def read_ollama(_name: bytes, data: bytes) -> EventFacts | None:
    """Return what Ollama's line says, None if it does not fit."""
    try:
        event = _decode_ollama(data)
    except UNREADABLE:
        return None
    message = event.message
    content = bool(event.response or event.thinking)
    if isinstance(message, _OllamaMessage):
        content = content or bool(message.content or message.thinking or message.tool_calls)
    return EventFacts(
        content,
        event.done,
        event.error is not None and is_error(event.error),
        ollama_usage(event.prompt_eval_count, event.eval_count) if event.done else None,
        event.model,
    )


def ollama_usage(prompt_eval_count: object, eval_count: object) -> UsageMembers:
    """Return Ollama's token counts."""
    return UsageMembers(prompt_tokens=prompt_eval_count, completion_tokens=eval_count)


def read_llama_cpp(_name: bytes, data: bytes) -> EventFacts | None:
    """Return what llama.cpp's event says, None if it does not fit."""
    try:
        event = _decode_llama_cpp(data)
    except UNREADABLE:
        return None
    return EventFacts(
        bool(event.content),
        event.stop,
        event.error is not None and is_error(event.error),
        llama_cpp_usage(event.tokens_evaluated, event.tokens_predicted, event.timings),
        event.model,
    )


def llama_cpp_usage(evaluated: object, predicted: object, timings: object) -> UsageMembers | None:
    """Return llama.cpp's token counts: `tokens_evaluated` are all of the prompt, cached ones included."""
    if evaluated is None and predicted is None:
        return None
    cached = timings.get("cache_n") if isinstance(timings, dict) else None
    return UsageMembers(
        prompt_tokens=evaluated,
        completion_tokens=predicted,
        prompt_tokens_details={"cached_tokens": cached},
    )
