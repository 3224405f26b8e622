"""A JSON answer's usage and model, and the bounds of what is held."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.outcome.answer_reader import MAX_ANSWER_BYTES, MAX_PIECES, AnswerReader
from endpoint_analytics.agents.outcome.body_facts import BodyFacts
from endpoint_analytics.agents.outcome.usage import Usage

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 19,
        "completion_tokens": 10,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}


def bug(error: Exception) -> None:
    raise AssertionError from error


def read(*pieces: bytes) -> BodyFacts:
    reader = AnswerReader(bug)
    for piece in pieces:
        reader.read(piece, 5)
    return reader.end()


@pytest.mark.parametrize(
    ("answer", "usage", "model"),
    [
        (CHAT, Usage(19, 10, 0, 0), "gpt-4o-mini"),
        (
            {
                "object": "list",
                "data": [{"embedding": [0.1, 0.2]}],
                "model": "e",
                "usage": {"prompt_tokens": 8},
            },
            Usage(8),
            "e",
        ),
        (
            {
                "type": "message",
                "model": "claude",
                "usage": {"input_tokens": 9, "cache_read_input_tokens": 1, "output_tokens": 3},
            },
            Usage(10, 3, 1),
            "claude",
        ),
        (
            {
                "object": "response",
                "model": "gpt-4.1",
                "error": None,
                "usage": {"input_tokens": 9, "output_tokens": 3},
            },
            Usage(9, 3),
            "gpt-4.1",
        ),
        (
            {
                "generated_text": "a",
                "details": {"generated_tokens": 3, "prefill": [{"id": 1}, {"id": 2}], "tokens": []},
            },
            Usage(2, 3),
            None,
        ),
        ({"generated_text": "a"}, Usage(), None),
        (
            {"model": "llama3.2", "response": "a", "done": True, "prompt_eval_count": 26, "eval_count": 290},
            Usage(26, 290),
            "llama3.2",
        ),
        ({"model": "all-minilm", "embeddings": [[0.1]], "prompt_eval_count": 8}, Usage(8), "all-minilm"),
        (
            {
                "content": "a",
                "stop": True,
                "model": "q",
                "tokens_predicted": 3,
                "tokens_evaluated": 12,
                "timings": {"cache_n": 8},
            },
            Usage(12, 3, 8),
            "q",
        ),
        ({"label": "cat"}, Usage(), None),
        ({"usage": "x", "model": 7, "details": 3, "timings": 4}, Usage(), None),
        ({"usage": {"prompt_tokens": "many", "completion_tokens": 3}, "model": "m"}, Usage(None, 3), "m"),
        ([{"usage": {"prompt_tokens": 3}}], Usage(), None),
    ],
)
def test_answers_of_all_apis_name_their_tokens(answer, usage, model):
    facts = read(json.dumps(answer).encode())
    assert (facts.usage, facts.model, facts.streamed) == (usage, model, False)


@given(st.lists(st.integers(0, 400), max_size=8))
def test_an_answer_in_any_pieces_says_the_same(places):
    body = json.dumps(CHAT).encode()
    at = [0, *sorted(places), len(body)]
    assert read(*[body[start:end] for start, end in itertools.pairwise(at)]) == read(body)


def test_an_answer_has_no_events():
    facts = read(b"{", b"}")
    assert facts == BodyFacts(streamed=False, body_bytes=2, first_byte_ns=5)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"\xff", b'{"usage":', b"[" * 100_000, b'{"model":"\\ud800"}']
)
def test_what_is_no_answer_says_nothing(body):
    facts = read(body)
    assert (facts.usage, facts.model) == (Usage(), None)


def test_too_long_an_answer_is_given_up_and_not_held():
    reader = AnswerReader(bug)
    reader.read(b"{" * MAX_ANSWER_BYTES, 1)
    assert reader.held_bytes == MAX_ANSWER_BYTES
    reader.read(b"{", 2)
    assert reader.held_bytes == 0
    reader.read(b"{", 3)
    assert reader.held_bytes == 0
    assert reader.end().body_bytes == MAX_ANSWER_BYTES + 2


def test_many_small_pieces_are_joined():
    reader = AnswerReader(bug)
    for byte in json.dumps({**CHAT, "more": "x" * 3 * MAX_PIECES}):
        reader.read(byte.encode(), 1)
        assert len(reader._pieces) < MAX_PIECES
    assert reader.end().usage == Usage(19, 10, 0, 0)


def test_pieces_are_kept_as_they_are():
    reader = AnswerReader(bug)
    piece = json.dumps(CHAT).encode()
    reader.read(piece, 1)
    assert reader._pieces[0] is piece


def test_a_buffer_that_is_filled_anew_is_copied():
    buffer = bytearray(json.dumps(CHAT).encode())
    reader = AnswerReader(bug)
    reader.read(buffer, 1)
    buffer[:] = b" " * len(buffer)
    assert reader.end().model == "gpt-4o-mini"


def test_what_is_no_bytes_is_reported_and_raises_nothing():
    found: list[Exception] = []
    reader = AnswerReader(found.append)
    reader.read("text", 1)
    reader.read(b"{}", 2)
    assert reader.end().usage == Usage()
    assert [type(error) for error in found] == [TypeError]


@given(st.lists(st.binary()))
def test_random_bytes_never_raise(pieces):
    assert read(*pieces).body_bytes == sum(map(len, pieces))
