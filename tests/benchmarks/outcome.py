"""What reading a streamed response costs the application: microseconds per event, for each of the APIs.

Each stream is a body of EVENTS events with content, of words of various lengths, one piece each, as a server sends
tokens; every piece is read with its time. All is included: splitting, decoding, timing and the bucket of the gap. Also
the same events many to a piece, as a proxy's buffers join them. The fastest of ROUNDS rounds counts: other work on the
machine can only add to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.benchmarks.results import Figure

from endpoint_analytics.agents.outcome.response import reader_for

EVENTS, ROUNDS, GAP_NS = 200, 300, 23_456_789
TOGETHER = 20
WORDS = (
    " the",
    " sky",
    " is",
    " blue",
    ",",
    " because",
    " of",
    " Rayleigh",
    " scattering",
    ".",
    " 青い",
    "\n",
)

SSE, NDJSON = b"text/event-stream", b"application/x-ndjson"


def report_bug(error: Exception) -> None:
    """No benchmark of a broken reader."""
    raise error


def sse(event: object, name: str = "") -> bytes:
    text = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"), ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + b"data: " + text.encode() + b"\n\n"


def chat(i: int, word: str, **more: Any) -> dict[str, Any]:
    """An event as vLLM sends it."""
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion.chunk",
        "created": 1741569952,
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "choices": [{"index": 0, "delta": {"content": word}, "logprobs": None, "finish_reason": None}],
        **more,
    }


def usage(i: int) -> dict[str, int]:
    return {"prompt_tokens": 250, "total_tokens": 250 + i, "completion_tokens": i}


def ollama(i: int, word: str) -> bytes:
    event = {
        "model": "llama3.2",
        "created_at": f"2023-08-04T08:52:19.{i:09}Z",
        "message": {"role": "assistant", "content": word},
        "done": False,
    }
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def anthropic(i: int, word: str) -> bytes:
    kind = "content_block_delta"
    return sse({"type": kind, "index": 0, "delta": {"type": "text_delta", "text": word}}, kind)


STREAMS = {
    "OpenAI chat (vLLM)": (SSE, lambda i, word: sse(chat(i, word))),
    "OpenAI chat (with obfuscation)": (SSE, lambda i, word: sse(chat(i, word, obfuscation=f"{i:x}"))),
    "OpenAI chat (continuous usage)": (SSE, lambda i, word: sse(chat(i, word, usage=usage(i)))),
    "Anthropic messages": (SSE, anthropic),
    "Ollama chat": (NDJSON, ollama),
    "JSON events": (SSE, lambda i, word: sse({"n": i, "label": word})),
    "text events": (SSE, lambda i, word: sse(word.strip() or "-")),
}


def joined(pieces: Sequence[bytes]) -> Iterator[bytes]:
    for start in range(0, len(pieces), TOGETHER):
        yield b"".join(pieces[start : start + TOGETHER])


def microseconds(content_type: bytes, pieces: Sequence[bytes]) -> float:
    """Return the microseconds per event, of the fastest round."""
    timed = [(piece, 10**15 + i * (GAP_NS + 977 * (i % 100))) for i, piece in enumerate(pieces)]
    best = float("inf")
    for _ in range(ROUNDS):
        reader = reader_for(200, content_type, b"", report_bug)
        assert reader is not None
        start_ns = time.perf_counter_ns()
        for piece, at_ns in timed:
            reader.read(piece, at_ns)
        facts = reader.end()
        best = min(best, (time.perf_counter_ns() - start_ns) / EVENTS / 1_000)
        assert facts.events == EVENTS, facts
    return best


def main() -> list[Figure]:
    """Print the table."""
    print(f"outcome: microseconds an event, the fastest of {ROUNDS} rounds of {EVENTS} events")
    print(f"  {'':<34}{'one a piece':>12}{f'{TOGETHER} a piece':>12}")
    figures = []
    for name, (content_type, event) in STREAMS.items():
        pieces = [event(i, WORDS[i % len(WORDS)]) for i in range(EVENTS)]
        one = microseconds(content_type, pieces)
        many = microseconds(content_type, list(joined(pieces)))
        print(f"  {name:<34}{one:>12.2f}{many:>12.2f}")
        figures.append(Figure(f"reading a stream, {name}", one, "us an event", "one event a piece"))
    return figures


if __name__ == "__main__":
    main()
