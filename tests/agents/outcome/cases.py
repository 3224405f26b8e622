"""What the served application of the outcome suite sends: each API's streams and answers, and what is reported of them.

An expected row is what the API's documentation says of the body; of a stream that is cut, what its reader says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.agents.outcome.transcripts import SSE, TRANSCRIPTS, Transcript

from endpoint_analytics.agents.outcome.body_facts import BodyFacts
from endpoint_analytics.agents.outcome.response import reader_for
from endpoint_analytics.agents.outcome.usage import Usage


def bug(error: Exception) -> None:
    raise AssertionError from error


@dataclass(frozen=True)
class Case:
    name: str
    path: str
    content_type: str
    pieces: Sequence[bytes]
    expected: dict[str, Any] = field(hash=False)
    status: int = 200
    model: str = ""

    @property
    def is_stream(self) -> bool:
        return self.content_type != "application/json"

    @cached_property
    def begun(self) -> int:
        """How many pieces have the first event with content."""
        numbers = range(1, len(self.pieces) + 1)
        return next((number for number in numbers if self.facts(number).events), len(self.pieces))

    def facts(self, number: int) -> BodyFacts:
        """What the reader says of the first pieces."""
        reader = reader_for(200, self.content_type.encode(), b"", bug)
        assert reader is not None
        for piece in self.pieces[:number]:
            reader.read(piece, 1)
        return reader.end()

    def cut(self) -> dict[str, Any]:
        """What is reported once the server ends the response behind its first event with content."""
        facts = self.facts(self.begun)
        how = "error" if facts.failed else "cut" if facts.ended is False else "complete"
        return {"ended": how, "status": 200, "events": facts.events, **tokens(facts.usage)}


def tokens(usage: Usage) -> dict[str, int | None]:
    names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    return {name: getattr(usage, name) for name in names}


def stream(transcript: Transcript) -> Case:
    end = b"\n\n" if transcript.content_type == SSE and b"\r\n\r\n" not in transcript.body else b"\n"
    pieces = [piece + end for piece in transcript.body.split(end)]
    pieces[-1] = pieces[-1].removesuffix(end)
    how = "error" if transcript.failed else "cut" if transcript.ended is False else "complete"
    expected = {
        "ended": how,
        "status": 200,
        "events": transcript.events,
        "estimated": transcript.is_estimated,
        "response_bytes": len(transcript.body),
        **tokens(transcript.usage),
    }
    kind = transcript.content_type.decode()
    pieces = [piece for piece in pieces if piece]
    return Case(transcript.name, "/any", kind, pieces, expected, model=transcript.model or "")


def answer(name: str, path: str, counts: Usage, status: int = 200, /, **members: Any) -> Case:
    body = json.dumps(members).encode()
    expected = {"ended": "complete", "status": status, "events": None, "first_token_us": None}
    expected["response_bytes"] = len(body)
    model = members.get("model", "") if counts != Usage() else ""
    pieces = [body[:20], b"", body[20:]]
    return Case(name, path, "application/json", pieces, {**expected, **tokens(counts)}, status, model)


OPENAI_USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 6, "audio_tokens": 0},
}
ANSWERS = (
    answer(
        "OpenAI chat",
        "/v1/chat/completions",
        Usage(19, 10, 4, 6),
        object="chat.completion",
        model="gpt-4o",
        choices=[{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        usage=OPENAI_USAGE,
    ),
    answer(
        "OpenAI completions",
        "/v1/completions",
        Usage(5, 7),
        object="text_completion",
        model="gpt-3.5-turbo-instruct",
        choices=[{"text": "This is a test", "index": 0, "finish_reason": "length"}],
        usage={"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    ),
    answer(
        "OpenAI responses",
        "/v1/responses",
        Usage(36, 87, 0, 2),
        object="response",
        model="gpt-4.1",
        output=[{"type": "message", "content": [{"type": "output_text", "text": "Once"}]}],
        usage={
            "input_tokens": 36,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 123,
        },
    ),
    answer(
        "OpenAI embeddings",
        "/v1/embeddings",
        Usage(8),
        object="list",
        model="text-embedding-3-small",
        data=[{"object": "embedding", "index": 0, "embedding": [0.0023064255, -0.009327292]}],
        usage={"prompt_tokens": 8, "total_tokens": 8},
    ),
    answer(
        "Anthropic messages",
        "/v1/messages",
        Usage(1135, 503, 1000),
        type="message",
        role="assistant",
        model="claude-opus-4-1",
        content=[{"type": "text", "text": "Hi!"}],
        usage={
            "input_tokens": 35,
            "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 1000,
            "output_tokens": 503,
        },
    ),
    answer(
        "TGI generate",
        "/generate",
        Usage(2, 5),
        generated_text=" learning is a subset",
        details={"finish_reason": "length", "generated_tokens": 5, "prefill": [{"id": 1}, {"id": 2}]},
    ),
    answer(
        "Ollama chat",
        "/api/chat",
        Usage(26, 298),
        model="llama3.2",
        message={"role": "assistant", "content": "Hello!"},
        done=True,
        prompt_eval_count=26,
        eval_count=298,
    ),
    answer(
        "llama.cpp completion",
        "/completion",
        Usage(12, 3, 8),
        model="qwen2.5",
        content=" Ten steps",
        stop=True,
        tokens_predicted=3,
        tokens_evaluated=12,
        timings={"cache_n": 8, "prompt_n": 4, "predicted_n": 3},
    ),
    answer("a classifier", "/predict", Usage(), label="cat", usage=OPENAI_USAGE, model="m"),
    answer(
        "an error by its status",
        "/v1/chat/completions",
        Usage(),
        400,
        error={"message": "no model", "type": "invalid_request_error"},
    ),
)
STREAMS = tuple(map(stream, TRANSCRIPTS))
CASES = {case.name: case for case in STREAMS} | {f"{case.name}, whole": case for case in ANSWERS}
