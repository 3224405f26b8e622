"""An honest stand-in for a language model behind the APIs of OpenAI and Anthropic: raw ASGI, no model.

Its answer is `max_tokens` words, of which each counts as a token and comes as an event of its own, the first after
FIRST_S and the others NEXT_S apart; the words of the prompt are the input's tokens, of which CACHED are from a cache.

Sources: platform.openai.com/docs/api-reference; docs.anthropic.com/en/api/messages and /streaming.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

FIRST_S, NEXT_S = 0.05, 0.01
CACHED = 2
MODEL = "stand-in-1"
WORDS = ("the ", "sky ", "is ", "青い ", "because ", "of ", 'a "law"\n')


async def words(number: int) -> AsyncIterator[str]:
    """Yield the answer's words at the model's pace."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    for at in range(number):
        await asyncio.sleep(begun_s + FIRST_S + at * NEXT_S - loop.time())
        yield WORDS[at % len(WORDS)]


async def text(number: int) -> str:
    return "".join([word async for word in words(number)])


def prompt_tokens(prompt: Any) -> int:
    """Return how many words the prompt has: a text, or messages."""
    messages = [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]
    return sum(len(message.split()) for message in messages)


def event(data: Mapping[str, Any], *, named: bool = False) -> bytes:
    name = f"event: {data['type']}\n" if named else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def openai_usage(inputs: int, outputs: int) -> dict[str, Any]:
    return {
        "prompt_tokens": inputs,
        "completion_tokens": outputs,
        "total_tokens": inputs + outputs,
        "prompt_tokens_details": {"cached_tokens": CACHED},
    }


def responses_usage(inputs: int, outputs: int) -> dict[str, Any]:
    return {
        "input_tokens": inputs,
        "input_tokens_details": {"cached_tokens": CACHED},
        "output_tokens": outputs,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": inputs + outputs,
    }


def anthropic_usage(inputs: int, outputs: int) -> dict[str, Any]:
    return {
        "input_tokens": inputs - CACHED,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": CACHED,
        "output_tokens": outputs,
    }


async def chat_stream(inputs: int, number: int, kind: str) -> AsyncIterator[bytes]:
    """Yield the events of chat completions, or of completions."""
    base = {"id": "c-1", "object": kind, "created": 1, "model": MODEL}

    def chunk(content: str, finish: str | None) -> bytes:
        said = {"delta": {"content": content}} if kind == "chat.completion.chunk" else {"text": content}
        return event({**base, "choices": [{"index": 0, "finish_reason": finish, **said}]})

    if kind == "chat.completion.chunk":
        first = {"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": ""}}
        yield event({**base, "choices": [first]})
    async for word in words(number):
        yield chunk(word, None)
    yield chunk("", "length")
    yield event({**base, "choices": [], "usage": openai_usage(inputs, number)})
    yield b"data: [DONE]\n\n"


def response_object(inputs: int, number: int, output: str | None) -> dict[str, Any]:
    item = {
        "id": "m-1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": output, "annotations": []}],
    }
    return {
        "id": "r-1",
        "object": "response",
        "created_at": 1,
        "model": MODEL,
        "status": "in_progress" if output is None else "completed",
        "output": [] if output is None else [item],
        "usage": None if output is None else responses_usage(inputs, number),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


async def responses_stream(inputs: int, number: int) -> AsyncIterator[bytes]:
    place = {"item_id": "m-1", "output_index": 0, "content_index": 0}
    begun = response_object(inputs, number, None)
    yield event({"type": "response.created", "sequence_number": 0, "response": begun}, named=True)
    sent, at = "", 0
    async for word in words(number):
        sent, at = sent + word, at + 1
        delta = {"type": "response.output_text.delta", "sequence_number": at, "delta": word, "logprobs": []}
        yield event({**delta, **place}, named=True)
    done = response_object(inputs, number, sent)
    yield event({"type": "response.completed", "sequence_number": at + 1, "response": done}, named=True)


def message_object(usage: dict[str, Any], output: str | None) -> dict[str, Any]:
    return {
        "id": "m-1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [] if output is None else [{"type": "text", "text": output}],
        "stop_reason": None if output is None else "max_tokens",
        "stop_sequence": None,
        "usage": usage,
    }


async def messages_stream(inputs: int, number: int) -> AsyncIterator[bytes]:
    start = message_object(anthropic_usage(inputs, 1), None)
    yield event({"type": "message_start", "message": start}, named=True)
    block = {"type": "text", "text": ""}
    yield event({"type": "content_block_start", "index": 0, "content_block": block}, named=True)
    yield event({"type": "ping"}, named=True)
    async for word in words(number):
        delta = {"type": "text_delta", "text": word}
        yield event({"type": "content_block_delta", "index": 0, "delta": delta}, named=True)
    yield event({"type": "content_block_stop", "index": 0}, named=True)
    stop = {"stop_reason": "max_tokens", "stop_sequence": None}
    yield event({"type": "message_delta", "delta": stop, "usage": {"output_tokens": number}}, named=True)
    yield event({"type": "message_stop"}, named=True)


async def answer(path: str, inputs: int, number: int) -> dict[str, Any]:
    """Return an answer that is not streamed."""
    if path == "/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}]
        usage = {"prompt_tokens": inputs, "total_tokens": inputs}
        return {"object": "list", "model": MODEL, "data": data, "usage": usage}
    output = await text(number)
    if path == "/v1/responses":
        return response_object(inputs, number, output)
    if path == "/v1/messages":
        return message_object(anthropic_usage(inputs, number), output)
    is_chat = path == "/v1/chat/completions"
    said = {"message": {"role": "assistant", "content": output}} if is_chat else {"text": output}
    return {
        "id": "c-1",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "length", **said}],
        "usage": openai_usage(inputs, number),
    }


def stream(path: str, inputs: int, number: int) -> AsyncIterator[bytes]:
    if path == "/v1/responses":
        return responses_stream(inputs, number)
    if path == "/v1/messages":
        return messages_stream(inputs, number)
    kind = "chat.completion.chunk" if path == "/v1/chat/completions" else "text_completion"
    return chat_stream(inputs, number, kind)


async def app(scope, receive, send) -> None:
    """Serve the APIs."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    asked, path = json.loads(body), scope["path"]
    inputs = prompt_tokens(asked.get("messages") or asked.get("input") or asked["prompt"])
    number = asked.get("max_tokens") or asked.get("max_output_tokens") or 1
    if not asked.get("stream"):
        whole = json.dumps(await answer(path, inputs, number)).encode()
        length = (b"content-length", b"%d" % len(whole))
        headers = [(b"content-type", b"application/json"), length]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": whole})
        return
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for piece in stream(path, inputs, number):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})
