"""Bodies as the public documentation of each API shows them, with what they say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from endpoint_analytics.agents.outcome.usage import Usage

SSE = b"text/event-stream"
NDJSON = b"application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Transcript:
    name: str
    body: bytes
    events: int
    usage: Usage
    model: str | None
    ended: bool | None = True
    failed: bool = False
    is_estimated: bool = False
    content_type: bytes = SSE


def sse(*data: Any, name: str = "", colon: str = "data: ", end: str = "\n") -> bytes:
    """Return events with this data, as JSON unless it is text."""
    head = f"event: {name}{end}" if name else ""
    texts = (item if isinstance(item, str) else json.dumps(item) for item in data)
    return "".join(f"{head}{colon}{text}{end}{end}" for text in texts).encode()


def named(*data: dict[str, Any]) -> bytes:
    """Return events that are named by their type."""
    return b"".join(sse(item, name=item["type"]) for item in data)


def lines(*data: Any) -> bytes:
    return "".join(json.dumps(item) + "\n" for item in data).encode()


def chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an event of OpenAI's chat completions."""
    return {
        "id": "chatcmpl-123",
        "object": "chat.completion.chunk",
        "created": 1694268190,
        "model": "gpt-4o-mini",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        **more,
    }


def usage_chunk(**usage: Any) -> dict[str, Any]:
    return {**chunk({}), "choices": [], "usage": usage}


def text_chunk(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an event of OpenAI's completions."""
    return {
        "id": "cmpl-7iA7iJjj8V2zOkCGvWF2hAkWh6AbX",
        "object": "text_completion",
        "created": 1690759702,
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}],
        "model": "gpt-3.5-turbo-instruct",
        **more,
    }


def token(text: str, special: bool = False, **more: Any) -> dict[str, Any]:
    """Return an event of TGI's generate_stream."""
    token = {"id": 264, "text": text, "logprob": -0.4, "special": special}
    return {"index": 1, "token": token, "generated_text": None, "details": None, **more}


def reply(content: str, done: bool = False, **more: Any) -> dict[str, Any]:
    """Return a line of Ollama's /api/chat."""
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    created_at = "2023-08-04T08:52:19.385406455-07:00"
    return {"model": "llama3.2", "created_at": created_at, "message": message, "done": done, **more}


START = {"role": "assistant", "content": "", "refusal": None}
DONE = "[DONE]"

CHAT = Transcript(
    "OpenAI chat, usage asked for",
    sse(
        chunk(START, usage=None),
        chunk({"content": "Hello"}, usage=None),
        chunk({"content": "!"}, usage=None),
        chunk({}, "stop", usage=None),
        usage_chunk(
            prompt_tokens=19,
            completion_tokens=10,
            total_tokens=29,
            prompt_tokens_details={"cached_tokens": 3, "audio_tokens": 0},
            completion_tokens_details={"reasoning_tokens": 4, "audio_tokens": 0},
        ),
        DONE,
    ),
    events=2,
    usage=Usage(19, 10, 3, 4),
    model="gpt-4o-mini",
)
CHAT_PLAIN = Transcript(
    "OpenAI chat without usage",
    sse(
        chunk(START),
        chunk({"content": "Hello"}),
        chunk({"content": ' "there" \\ you'}),
        chunk({}, "stop"),
        DONE,
    ),
    events=2,
    usage=Usage(output_tokens=2),
    model="gpt-4o-mini",
    is_estimated=True,
)
CHAT_TOOLS = Transcript(
    "OpenAI chat with a tool call",
    sse(
        chunk(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "f", "arguments": ""},
                    }
                ],
            }
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"location'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '":"Paris"}'}}]}),
        chunk({}, "tool_calls"),
        DONE,
    ),
    events=3,
    usage=Usage(output_tokens=3),
    model="gpt-4o-mini",
    is_estimated=True,
)
COMPLETION = Transcript(
    "OpenAI completions",
    sse(
        text_chunk("1"),
        text_chunk(",", usage=None),
        text_chunk(" 2", "length"),
        text_chunk("", choices=[], usage={"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}),
        DONE,
    ),
    events=3,
    usage=Usage(5, 3),
    model="gpt-3.5-turbo-instruct",
)
VLLM_REASONING = Transcript(
    "vLLM, reasoning, continuous_usage_stats",
    sse(
        chunk(
            {"role": "assistant", "content": ""},
            usage={"prompt_tokens": 11, "total_tokens": 11, "completion_tokens": 0},
        ),
        chunk(
            {"reasoning_content": "Hm"},
            usage={"prompt_tokens": 11, "total_tokens": 12, "completion_tokens": 1},
        ),
        chunk({"reasoning": "."}, usage={"prompt_tokens": 11, "total_tokens": 13, "completion_tokens": 2}),
        chunk(
            {"content": "9.8"},
            "stop",
            usage={"prompt_tokens": 11, "total_tokens": 15, "completion_tokens": 4},
        ),
        usage_chunk(prompt_tokens=11, total_tokens=15, completion_tokens=4),
        DONE,
    ),
    events=3,
    usage=Usage(11, 4),
    model="gpt-4o-mini",
)
SGLANG = Transcript(
    "SGLang",
    sse(
        chunk({"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": None}),
        chunk(
            {"role": None, "content": "Hi", "reasoning_content": None, "tool_calls": None}, matched_stop=None
        ),
        chunk({"role": None, "content": None}, "stop"),
        usage_chunk(
            prompt_tokens=30,
            completion_tokens=2,
            total_tokens=32,
            prompt_tokens_details=None,
            reasoning_tokens=1,
        ),
        DONE,
    ),
    events=1,
    usage=Usage(30, 2, None, 1),
    model="gpt-4o-mini",
)
VLLM_ERROR = Transcript(
    "vLLM, an error amid the stream",
    sse(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hello"}),
        {"error": {"message": "EngineCore encountered an issue", "type": "InternalServerError", "code": 500}},
        DONE,
    ),
    events=1,
    usage=Usage(output_tokens=1),
    model="gpt-4o-mini",
    failed=True,
    is_estimated=True,
)
LLAMA_CPP_CHAT = Transcript(
    "llama.cpp chat, timings instead of usage",
    sse(
        chunk({"role": "assistant", "content": None}),
        chunk({"content": "Hi"}),
        chunk(
            {},
            "stop",
            timings={"cache_n": 24, "prompt_n": 4, "prompt_ms": 20.1, "predicted_n": 2, "predicted_ms": 9.5},
        ),
        DONE,
    ),
    events=1,
    usage=Usage(28, 2, 24),
    model="gpt-4o-mini",
)
TGI_CHAT = Transcript(
    "TGI chat, no [DONE], data without a space",
    sse(
        chunk({"role": "assistant", "content": "Deep"}),
        chunk({"role": "assistant", "content": " learning"}, "length"),
        colon="data:",
    ),
    events=2,
    usage=Usage(output_tokens=2),
    model="gpt-4o-mini",
    is_estimated=True,
)
BROKEN_OFF = Transcript(
    "OpenAI chat, broken off",
    sse(chunk(START), chunk({"content": "Hello"})) + b'data: {"id":"chatcmpl-123","obj',
    events=1,
    usage=Usage(output_tokens=1),
    model="gpt-4o-mini",
    ended=False,
    is_estimated=True,
)

RESPONSES = Transcript(
    "OpenAI responses",
    named(
        {
            "type": "response.created",
            "response": {"id": "resp_1", "status": "in_progress", "model": "gpt-4.1", "usage": None},
        },
        {"type": "response.in_progress", "response": {"id": "resp_1", "model": "gpt-4.1", "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "content": []}},
        {"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}},
        {"type": "response.reasoning_summary_text.delta", "delta": "Greet"},
        {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "delta": "Hi"},
        {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "delta": " there"},
        {"type": "response.output_text.done", "text": "Hi there"},
        {"type": "response.output_item.done", "item": {"type": "message", "status": "completed"}},
        {
            "type": "response.completed",
            "response": {
                "id": "resp_1",
                "status": "completed",
                "model": "gpt-4.1-2025-04-14",
                "output": [{"content": [{"type": "output_text", "text": "Hi there"}]}],
                "usage": {
                    "input_tokens": 37,
                    "input_tokens_details": {"cached_tokens": 16},
                    "output_tokens": 11,
                    "output_tokens_details": {"reasoning_tokens": 2},
                    "total_tokens": 48,
                },
            },
        },
    ),
    events=3,
    usage=Usage(37, 11, 16, 2),
    model="gpt-4.1",
)
RESPONSES_FAILED = Transcript(
    "OpenAI responses, failed",
    named(
        {"type": "response.created", "response": {"model": "gpt-4.1"}},
        {
            "type": "response.failed",
            "response": {"model": "gpt-4.1", "error": {"code": "server_error"}, "usage": None},
        },
    ),
    events=0,
    usage=Usage(),
    model="gpt-4.1",
    failed=True,
)
TRANSCRIPTION = Transcript(
    "OpenAI transcription",
    sse(
        {"type": "transcript.text.delta", "delta": "I"},
        {"type": "transcript.text.delta", "delta": " see"},
        {
            "type": "transcript.text.done",
            "text": "I see",
            "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59},
        },
    ),
    events=2,
    usage=Usage(14, 45),
    model=None,
)

ANTHROPIC = Transcript(
    "Anthropic messages",
    named(
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "content": [],
                "model": "claude-opus-4-1-20250805",
                "stop_reason": None,
                "usage": {
                    "input_tokens": 25,
                    "cache_creation_input_tokens": 100,
                    "cache_read_input_tokens": 1000,
                    "output_tokens": 1,
                },
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Well"}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "signature_delta", "signature": "EqQB"},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "!"}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": ""},
        },
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": '{"a"'},
        },
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 15, "output_tokens_details": {"thinking_tokens": 6}},
        },
        {"type": "message_stop"},
    ),
    events=4,
    usage=Usage(1125, 15, 1000, 6),
    model="claude-opus-4-1-20250805",
)
ANTHROPIC_ERROR = Transcript(
    "Anthropic messages, overloaded",
    named(
        {
            "type": "message_start",
            "message": {"model": "claude-opus-4-1", "usage": {"input_tokens": 472, "output_tokens": 2}},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Okay"}},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    ),
    events=1,
    usage=Usage(472, 1),
    model="claude-opus-4-1",
    ended=False,
    failed=True,
    is_estimated=True,
)
ANTHROPIC_LATE_INPUT = Transcript(
    "Anthropic messages as vLLM sends them: the input at last",
    named(
        {
            "type": "message_start",
            "message": {"model": "qwen", "usage": {"input_tokens": 0, "output_tokens": 0}},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Okay"}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": 9, "output_tokens": 3},
        },
        {"type": "message_stop"},
    ),
    events=1,
    usage=Usage(9, 3),
    model="qwen",
)

TGI = Transcript(
    "TGI generate_stream",
    sse(
        token("Deep"),
        token(" learning"),
        token(
            "</s>",
            special=True,
            generated_text="Deep learning",
            details={"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 5, "seed": None},
        ),
        colon="data:",
    ),
    events=2,
    usage=Usage(5, 3),
    model=None,
)
TGI_ERROR = Transcript(
    "TGI generate_stream, an error",
    sse(
        token("Deep"),
        {"error": "Request failed during generation: CUDA out of memory", "error_type": "generation"},
        colon="data:",
    ),
    events=1,
    usage=Usage(output_tokens=1),
    model=None,
    ended=False,
    failed=True,
    is_estimated=True,
)

OLLAMA_CHAT = Transcript(
    "Ollama chat",
    lines(
        reply("", message={"thinking": "Hm"}),
        reply("The"),
        reply(" sky"),
        reply(
            "", done=True, done_reason="stop", total_duration=4883583458, prompt_eval_count=26, eval_count=282
        ),
    ),
    events=3,
    usage=Usage(26, 282),
    model="llama3.2",
    content_type=NDJSON,
)
OLLAMA_GENERATE = Transcript(
    "Ollama generate",
    lines(
        {"model": "llama3.2", "created_at": "2023-08-04T08:52:19.38Z", "response": "The", "done": False},
        {
            "model": "llama3.2",
            "created_at": "2023-08-04T19:22:45.49Z",
            "response": "",
            "done": True,
            "context": [1, 2, 3],
            "prompt_eval_count": 26,
            "eval_count": 259,
        },
    ),
    events=1,
    usage=Usage(26, 259),
    model="llama3.2",
    content_type=NDJSON,
)
OLLAMA_ERROR = Transcript(
    "Ollama chat, an error, no last line feed",
    lines(reply("The")) + b'{"error":"an error was encountered while running the model"}',
    events=1,
    usage=Usage(output_tokens=1),
    model="llama3.2",
    ended=False,
    failed=True,
    is_estimated=True,
    content_type=NDJSON,
)
LLAMA_CPP = Transcript(
    "llama.cpp completion",
    sse(
        {
            "index": 0,
            "content": " Ten",
            "tokens": [20],
            "stop": False,
            "id_slot": 0,
            "tokens_predicted": 1,
            "tokens_evaluated": 12,
        },
        {
            "index": 0,
            "content": " steps",
            "tokens": [21],
            "stop": False,
            "id_slot": 0,
            "tokens_predicted": 2,
            "tokens_evaluated": 12,
        },
        {
            "index": 0,
            "content": "",
            "stop": True,
            "model": "qwen2.5",
            "tokens_predicted": 3,
            "tokens_evaluated": 12,
            "stop_type": "eos",
            "tokens_cached": 14,
            "timings": {"cache_n": 8, "prompt_n": 4, "predicted_n": 3},
        },
    ),
    events=2,
    usage=Usage(12, 3, 8),
    model="qwen2.5",
)

JSON_EVENTS = Transcript(
    "JSON events of no known API, CRLF and pings as sse-starlette sends them",
    b": ping - 2024-01-01 00:00:00\r\n\r\n"
    + sse({"token": "Hello"}, {"token": "!"}, {"token": "", "n": 3}, end="\r\n")
    + b"event: ping\r\ndata: 2024\r\n\r\n",
    events=3,
    usage=Usage(output_tokens=3),
    model=None,
    ended=None,
    is_estimated=True,
)
TEXT_EVENTS = Transcript(
    "text events with comments, an id, several data lines and a byte order mark",
    b"\xef\xbb\xbf:hi\nid: 1\nretry: 10\ndata: cat\n\nevent: add\ndata: a\ndata: b\ndata\n\n"
    b"id: 2\n\ndata\n\ndata: [DONE]\n\ndata: lost",
    events=2,
    usage=Usage(output_tokens=2),
    model=None,
    ended=True,
    is_estimated=True,
)
JSON_LINES = Transcript(
    "JSON lines of no known API, as RFC 7464 writes them",
    b'\x1e{"progress": 1}\n\x1e{"progress": 2}\n\n\x1e[3]\n\x1e{"prog',
    events=3,
    usage=Usage(output_tokens=3),
    model=None,
    ended=None,
    is_estimated=True,
    content_type=b"application/json-seq",
)

TRANSCRIPTS = tuple(value for value in globals().copy().values() if isinstance(value, Transcript))
