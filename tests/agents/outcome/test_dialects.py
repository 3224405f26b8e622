"""One event: which dialect it is of, and what it says, whatever is in it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.outcome.test_usage import json_values
from tests.agents.outcome.transcripts import TRANSCRIPTS, chunk, reply, token

from endpoint_analytics.agents.outcome.dialects import (
    ANTHROPIC,
    CHAT,
    LLAMA_CPP,
    OLLAMA,
    OTHER,
    TGI,
    TYPED,
    read_any,
    read_other,
    recognise,
)
from endpoint_analytics.agents.outcome.event_facts import EventFacts, plausible_model
from endpoint_analytics.agents.outcome.event_stream import NdjsonEvents, SseEvents
from endpoint_analytics.agents.outcome.usage import read_usage

DIALECTS = (CHAT, TYPED, ANTHROPIC, TGI, OLLAMA, LLAMA_CPP, OTHER)


def encoded(event) -> bytes:
    return json.dumps(event).encode()


@pytest.mark.parametrize(
    ("event", "dialect"),
    [
        (chunk({"content": "a"}), CHAT),
        ({"choices": [], "prompt_filter_results": []}, CHAT),
        ({"type": "response.created"}, TYPED),
        ({"type": "transcript.text.delta"}, TYPED),
        ({"type": "ping"}, ANTHROPIC),
        ({"type": "message_start"}, ANTHROPIC),
        (token("a"), TGI),
        (reply("a"), OLLAMA),
        ({"model": "m", "response": "a", "done": False}, OLLAMA),
        ({"content": "a", "stop": False}, LLAMA_CPP),
        ({"token": "a"}, None),
        ({"done": False, "text": "a"}, None),
        ({"content": "a"}, None),
        ({"type": "chunk", "text": "a"}, None),
        ({"type": "error", "error": {}}, None),
        ({"error": "boom"}, None),
        ([1], None),
        ("a", None),
    ],
)
def test_events_are_recognised_by_their_members(event, dialect):
    assert recognise(encoded(event)) is dialect


@pytest.mark.parametrize(
    "data", [b"", b"[DONE]", b"{", b'{"choices": [', b"\xff", b"[" * 100_000, b'{"a":' * 100_000]
)
def test_what_is_no_json_is_of_no_dialect(data):
    assert recognise(data) is None


@pytest.mark.parametrize(
    ("name", "data", "facts"),
    [
        (b"", b"cat", EventFacts(True)),
        (b"", b'"cat"', EventFacts(True)),
        (b"", b'{"label": "cat"}', EventFacts(True)),
        (b"", b"{cat", EventFacts(True)),
        (b"", b"\xff\xfe", EventFacts(True)),
        (b"", b"", EventFacts(False)),
        (b"ping", b"{}", EventFacts(False)),
        (b"", b" [DONE] ", EventFacts(False, is_end=True)),
        (b"error", b"out of memory", EventFacts(False, is_error=True)),
        (b"error", b"{out of memory", EventFacts(False, is_error=True)),
        (b"error", b'{"detail": "x"}', EventFacts(False, is_error=True)),
        (b"", b'{"error": "out of memory"}', EventFacts(False, is_error=True)),
        (b"", b'{"error": {"message": "x"}}', EventFacts(False, is_error=True)),
        (b"", b'{"object": "error", "message": "x"}', EventFacts(False, is_error=True)),
        (b"", b'{"type": "error", "message": "x"}', EventFacts(False, is_error=True)),
        (b"", b'{"error": null, "label": "cat"}', EventFacts(True)),
        (b"", b'{"error": 0.25}', EventFacts(True)),
        (b"", b'{"error": ""}', EventFacts(True)),
        (b"", b'{"model": "m"}', EventFacts(True, model="m")),
    ],
)
def test_events_of_no_known_api_are_content_unless_they_report_an_error(name, data, facts):
    assert read_any(name, data) == facts


def test_an_event_with_the_usage_alone_is_no_content():
    facts = read_any(b"", b'{"usage": {"prompt_tokens": 3}}')
    assert not facts.content
    assert read_usage(facts.usage).input_tokens == 3


def test_an_event_of_another_dialect_is_read_as_that_ones():
    assert read_other(b"", encoded(chunk({}, "stop"))).is_end


@pytest.mark.parametrize(
    ("delta", "content"),
    [
        ({"content": "a"}, True),
        ({"content": ""}, False),
        ({"content": None, "role": "assistant"}, False),
        ({"reasoning_content": "a"}, True),
        ({"reasoning": "a"}, True),
        ({"refusal": "a"}, True),
        ({"function_call": {"arguments": "a"}}, True),
        ({"tool_calls": [{"index": 0}]}, True),
        ({"tool_calls": []}, False),
        ({"audio": {"id": "a", "data": "QQ=="}}, True),
        ({"audio": {"id": "a", "transcript": "a"}}, True),
        ({"audio": {"id": "a", "expires_at": 1}}, False),
        ({}, False),
        (None, False),
    ],
)
def test_deltas_of_chat_are_content_if_there_is_something_in_them(delta, content):
    assert CHAT.read(b"", encoded(chunk(delta))).content is content


def test_chat_ends_once_all_choices_of_an_event_have_finished():
    one, other = {"index": 0, "delta": {}, "finish_reason": "stop"}, {"index": 1, "delta": {"content": "a"}}
    assert CHAT.read(b"", encoded({"choices": [one]})).is_end
    assert not CHAT.read(b"", encoded({"choices": [one, other]})).is_end
    assert not CHAT.read(b"", encoded({"choices": []})).is_end


def test_a_choice_that_finishes_with_an_error_has_failed():
    assert CHAT.read(b"", encoded(chunk({}, "error"))).is_error
    assert CHAT.read(b"", encoded(chunk({"content": ""}, "error", error={"code": 502}))).is_error


@pytest.mark.parametrize("member", ["usage", "model", "error", "timings"])
@pytest.mark.parametrize("junk", [7, "x", [1], True, 1.5, {"a": [1]}])
def test_a_member_of_a_wrong_type_does_not_lose_the_rest(member, junk):
    facts = CHAT.read(b"", encoded(chunk({"content": "a"}, "stop", **{member: junk})))
    assert facts is not None
    assert facts.content
    assert facts.is_end
    assert read_usage(facts.usage if member == "usage" and junk == {"a": [1]} else None).input_tokens is None


@pytest.mark.parametrize(
    ("model", "plausible"), [("m", True), ("", False), (7, False), (None, False), ("m" * 257, False)]
)
def test_a_model_is_a_text_that_is_not_too_long(model, plausible):
    assert plausible_model(model) == (model if plausible else None)


@pytest.mark.parametrize(
    ("kind", "content", "is_end", "is_error"),
    [
        ("response.output_text.delta", True, False, False),
        ("response.function_call_arguments.delta", True, False, False),
        ("response.something_new.delta", True, False, False),
        ("response.image_generation_call.partial_image", True, False, False),
        ("response.output_text.done", False, False, False),
        ("response.completed", False, True, False),
        ("response.incomplete", False, True, False),
        ("response.failed", False, True, True),
        ("error", False, False, True),
        ("image_generation.completed", True, True, False),
    ],
)
def test_typed_events_say_it_by_their_type(kind, content, is_end, is_error):
    facts = TYPED.read(b"", encoded({"type": kind}))
    assert (facts.content, facts.is_end, facts.is_error) == (content, is_end, is_error)


def test_a_typed_event_of_a_wrong_shape_does_not_fit():
    assert TYPED.read(b"", b'{"type": 7}') is None
    assert ANTHROPIC.read(b"", b"[]") is None


def test_an_empty_prefill_of_tgi_is_unknown():
    event = token("a", details={"generated_tokens": 1, "prefill": []})
    assert read_usage(TGI.read(b"", encoded(event)).usage).input_tokens is None
    event = token("a", details={"generated_tokens": 1, "prefill": [{"id": 1}, {"id": 2}]})
    assert read_usage(TGI.read(b"", encoded(event)).usage).input_tokens == 2


def all_events() -> list[dict]:
    found = []
    for transcript in TRANSCRIPTS:
        events = SseEvents() if transcript.content_type == b"text/event-stream" else NdjsonEvents()
        for _, data in events.feed(transcript.body):
            if data[:1] == b"{":
                found.append(json.loads(data))
    return found


def paths(event, prefix=()):
    """Return the path to each value in the event."""
    inner = event.items() if isinstance(event, dict) else enumerate(event) if isinstance(event, list) else ()
    return [prefix, *(path for key, value in inner for path in paths(value, (*prefix, key)))]


def replaced(event, path, value):
    if not path:
        return value
    copy = event.copy()
    copy[path[0]] = replaced(event[path[0]], path[1:], value)
    return copy


@given(st.data(), json_values, st.sampled_from([b"", b"error", b"ping", b"message"]))
def test_whatever_stands_in_a_member_every_reader_reads_it(data, value, name):
    event = data.draw(st.sampled_from(all_events()))
    damaged = encoded(replaced(event, data.draw(st.sampled_from(paths(event))), value))
    for dialect in DIALECTS:
        facts = dialect.read(name, damaged)
        assert facts is None or isinstance(facts, EventFacts)
    assert isinstance(read_other(name, damaged), EventFacts)


@given(st.binary(), st.binary())
def test_random_bytes_never_raise(name, data):
    for dialect in DIALECTS:
        dialect.read(name, data)
    read_other(name, data)


@pytest.mark.parametrize(
    "data",
    [
        b"{" * 50000,
        b'{"choices":' + b"[" * 50000,
        b'{"choices":[],"usage":' + b'{"a":' * 50000,
        b'{"type":1e999}',
        b'{"choices":[],"model":' + b"9" * 5000 + b"}",
        b'{"model":"\\ud800"}',
        b'{"error":' + b"[" * 50000,
    ],
)
def test_hostile_json_never_raises(data):
    for dialect in DIALECTS:
        dialect.read(b"", data)
    assert isinstance(read_other(b"", data), EventFacts)
