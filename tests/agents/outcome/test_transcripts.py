"""Each API's streams, whole and in any pieces: the same facts."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.outcome.transcripts import TRANSCRIPTS, Transcript

from endpoint_analytics.agents.outcome.body_facts import BodyFacts
from endpoint_analytics.agents.outcome.response import reader_for


def bug(error: Exception) -> None:
    raise AssertionError from error


def read(content_type: bytes, pieces: list[bytes]) -> BodyFacts:
    reader = reader_for(200, content_type, b"", bug)
    assert reader is not None
    for piece in pieces:
        reader.read(piece, 7)
    return reader.end()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(at)]


every = pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)


@every
def test_a_transcript_says_what_its_documentation_says(transcript: Transcript):
    facts = read(transcript.content_type, [transcript.body])
    expected = {
        name: getattr(transcript, name)
        for name in ("events", "usage", "model", "ended", "failed", "is_estimated")
    }
    assert {name: getattr(facts, name) for name in expected} == expected
    assert facts.streamed
    assert facts.body_bytes == len(transcript.body)


@every
def test_byte_by_byte_it_says_the_same(transcript: Transcript):
    pieces = [transcript.body[i : i + 1] for i in range(len(transcript.body))]
    assert read(transcript.content_type, pieces) == read(transcript.content_type, [transcript.body])


def by_event(transcript: Transcript, body: bytes) -> list[bytes]:
    end = b"\n\n" if transcript.content_type == b"text/event-stream" else b"\n"
    pieces = [piece + end for piece in body.split(end)]
    return [*pieces[:-1], pieces[-1].removesuffix(end)]


@every
def test_event_by_event_it_says_the_same(transcript: Transcript):
    pieces = by_event(transcript, transcript.body)
    assert read(transcript.content_type, pieces) == read(transcript.content_type, [transcript.body])


@every
@given(at=st.integers(0, 10_000), junk=st.binary(max_size=8), times=st.integers(1, 4))
def test_with_junk_inside_it_says_the_same_event_by_event(
    transcript: Transcript, at: int, junk: bytes, times: int
):
    body = transcript.body * times
    body = body[:at] + junk + body[at:]
    assert read(transcript.content_type, by_event(transcript, body)) == read(transcript.content_type, [body])


@every
@given(places=st.lists(st.integers(0, 10_000), max_size=12))
def test_in_any_pieces_it_says_the_same(transcript: Transcript, places: list[int]):
    whole = read(transcript.content_type, [transcript.body])
    assert read(transcript.content_type, cut(transcript.body, places)) == whole


@every
@given(length=st.integers(0, 10_000), places=st.lists(st.integers(0, 10_000), max_size=5))
def test_broken_off_anywhere_it_says_the_same_in_any_pieces(
    transcript: Transcript, length: int, places: list[int]
):
    body = transcript.body[:length]
    assert read(transcript.content_type, cut(body, places)) == read(transcript.content_type, [body])


@every
@given(
    at=st.integers(0, 10_000),
    junk=st.binary(max_size=40),
    places=st.lists(st.integers(0, 10_000), max_size=5),
)
def test_with_junk_inside_it_is_no_bug_and_says_the_same_in_any_pieces(
    transcript: Transcript, at: int, junk: bytes, places: list[int]
):
    body = transcript.body[:at] + junk + transcript.body[at:]
    assert read(transcript.content_type, cut(body, places)) == read(transcript.content_type, [body])
