"""The clients that people use, with their own stopwatch: OpenAI's and Anthropic's packages. Prints what they saw.

Runs as a script with only those packages: `model_clients.py PORT TOKENS TIMES`. Each call has a name, which it sends as
X-Case. Times are in microseconds since the call.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai

PROMPT = "why is the sky blue at noon"
MESSAGES: Any = [{"role": "user", "content": PROMPT}]
MODEL = "stand-in-1"
LEFT_AFTER = 3


class Call:
    """One call: `token()` when a part of the answer came, `usage` in the names of our batches."""

    def __init__(self, name: str) -> None:
        self.headers = {"X-Case": name}
        self.tokens_us: list[int] = []
        self.usage: dict[str, int | None] = {}
        self._begun_ns = time.perf_counter_ns()

    @property
    def now_us(self) -> int:
        return (time.perf_counter_ns() - self._begun_ns) // 1_000

    def token(self, text: str | None) -> None:
        if text:
            self.tokens_us.append(self.now_us)

    def used(self, inputs: int, outputs: int | None, cached: int | None) -> None:
        self.usage = {"input_tokens": inputs, "output_tokens": outputs, "cached_tokens": cached}


class Clients:
    """All kinds of calls, each a method of a call and of how many tokens to ask for."""

    def __init__(self, port: int, tokens: int) -> None:
        self.openai = openai.OpenAI(api_key="key", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
        self.anthropic = anthropic.Anthropic(
            api_key="key", base_url=f"http://127.0.0.1:{port}", max_retries=0
        )
        self.tokens = tokens

    def _chat_events(self, call: Call) -> Any:
        return self.openai.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=self.tokens, stream=True,
            stream_options={"include_usage": True}, extra_headers=call.headers,
        )  # fmt: skip

    def chat_streamed(self, call: Call) -> None:
        for chunk in self._chat_events(call):
            if chunk.choices:
                call.token(chunk.choices[0].delta.content)
            if chunk.usage:
                details = chunk.usage.prompt_tokens_details
                call.used(chunk.usage.prompt_tokens, chunk.usage.completion_tokens, details.cached_tokens)

    def chat_left(self, call: Call) -> None:
        """Leave before the end, as an application does whose user pressed stop."""
        with self._chat_events(call) as events:
            for chunk in events:
                call.token(chunk.choices[0].delta.content)
                if len(call.tokens_us) == LEFT_AFTER:
                    return

    def completions_streamed(self, call: Call) -> None:
        events = self.openai.completions.create(
            model=MODEL, prompt=PROMPT, max_tokens=self.tokens, stream=True,
            stream_options={"include_usage": True}, extra_headers=call.headers,
        )  # fmt: skip
        for chunk in events:
            if chunk.choices:
                call.token(chunk.choices[0].text)
            if chunk.usage:
                details = chunk.usage.prompt_tokens_details
                call.used(chunk.usage.prompt_tokens, chunk.usage.completion_tokens, details.cached_tokens)

    def responses_streamed(self, call: Call) -> None:
        events = self.openai.responses.create(
            model=MODEL, input=PROMPT, max_output_tokens=self.tokens, stream=True, extra_headers=call.headers
        )
        for event in events:
            if event.type == "response.output_text.delta":
                call.token(event.delta)
            if event.type == "response.completed":
                usage = event.response.usage
                call.used(usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens)

    def messages_streamed(self, call: Call) -> None:
        events = self.anthropic.messages.stream(
            model=MODEL, messages=MESSAGES, max_tokens=self.tokens, extra_headers=call.headers
        )
        with events as stream:
            for text in stream.text_stream:
                call.token(text)
            self._anthropic_usage(call, stream.get_final_message().usage)

    def chat(self, call: Call) -> None:
        usage = self.openai.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=self.tokens, extra_headers=call.headers
        ).usage
        call.used(usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens)

    def responses(self, call: Call) -> None:
        usage = self.openai.responses.create(
            model=MODEL, input=PROMPT, max_output_tokens=self.tokens, extra_headers=call.headers
        ).usage
        call.used(usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens)

    def embeddings(self, call: Call) -> None:
        usage = self.openai.embeddings.create(
            model=MODEL, input=PROMPT, encoding_format="float", extra_headers=call.headers
        ).usage
        call.used(usage.prompt_tokens, None, None)

    def messages(self, call: Call) -> None:
        message = self.anthropic.messages.create(
            model=MODEL, messages=MESSAGES, max_tokens=self.tokens, extra_headers=call.headers
        )
        self._anthropic_usage(call, message.usage)

    def _anthropic_usage(self, call: Call, usage: Any) -> None:
        """Anthropic counts what a cache has beside `input_tokens`."""
        cached = usage.cache_read_input_tokens
        call.used(usage.input_tokens + cached, usage.output_tokens, cached)


def calls(clients: Clients, times: int) -> Iterator[dict[str, Any]]:
    kinds: dict[str, Callable[[Call], None]] = {
        "chat, streamed": clients.chat_streamed,
        "chat, left": clients.chat_left,
        "completions, streamed": clients.completions_streamed,
        "responses, streamed": clients.responses_streamed,
        "messages, streamed": clients.messages_streamed,
        "chat": clients.chat,
        "responses": clients.responses,
        "embeddings": clients.embeddings,
        "messages": clients.messages,
    }
    for number in range(times + 1):
        for kind, ask in kinds.items():
            name = f"{kind} {number}" if number else "warm"  # the first one imports, and connects
            call = Call(name)
            ask(call)
            yield {
                "name": name,
                "kind": kind,
                "tokens_us": call.tokens_us,
                "total_us": call.now_us,
                "usage": call.usage,
            }


if __name__ == "__main__":
    port, tokens, times = map(int, sys.argv[1:])
    print(json.dumps(list(calls(Clients(port, tokens), times))))
