"""Pieces that differ only inside one text: found, and never taken for what they are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.outcome.transcripts import chunk, sse, text_chunk

from endpoint_analytics.agents.outcome.event_stream import MAX_EVENT_BYTES, SseEvents
from endpoint_analytics.agents.outcome.repeated_piece import MAX_LEARNED, MAX_PIECE_BYTES, RepeatedPiece
from endpoint_analytics.agents.outcome.stream_reader import StreamReader

PIECE = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": null}]}\n\n'


def bug(error: Exception) -> None:
    raise AssertionError from error


def learned(piece: bytes) -> RepeatedPiece:
    repeated = RepeatedPiece()
    repeated.learn(piece)
    return repeated


@pytest.mark.parametrize("text", [b"b", b" longer than it", "早安 \U0001f600".encode(), b"\\/"[1:], b"\x7f"])
def test_a_piece_with_another_text_is_like_it(text):
    assert learned(PIECE).matches(PIECE.replace(b'"a"', b'"%b"' % text))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\\n",
        b'"',
        b'a","refusal":"b',
        b"\n",
        b"\r",
        b"\x00",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xe0\x80\x80",
    ],
)
def test_a_piece_whose_text_could_be_more_is_not(text):
    assert not learned(PIECE).matches(PIECE.replace(b'"a"', b'"%b"' % text))


@pytest.mark.parametrize(
    "piece",
    [
        PIECE.replace(b"null", b'"stop"'),
        PIECE.replace(b'"a"', b"null"),
        PIECE + PIECE,
        PIECE[:-1],
        PIECE[:-8],
        b"data: [DONE]\n\n",
        PIECE.replace(b'"a"', b'"%b"' % (b"a" * MAX_EVENT_BYTES)),
        b"",
    ],
)
def test_a_piece_that_differs_elsewhere_is_not_like_it(piece):
    assert not learned(PIECE).matches(piece)


@pytest.mark.parametrize(
    "piece",
    [
        b"data: cat\n\n",
        b'data: {"label": "cat"}\n\n',
        b'data: {"content": "a", "text": "b"}\n\n',
        b'data: {"content": ""}\n\n',
        b'data: {"content": "a", "more": "%b"}\n\n' % (b"x" * MAX_PIECE_BYTES),
        b'data: {"x": "\\"content\\":\\"a\\""}\n\n',
    ],
)
def test_nothing_is_like_a_piece_without_one_text(piece):
    assert not learned(piece).matches(piece)


def test_a_stream_without_like_pieces_is_no_use():
    repeated = RepeatedPiece()
    assert [repeated.learn(PIECE) for _ in range(MAX_LEARNED)] == [True] * (MAX_LEARNED - 1) + [False]


def test_a_like_piece_shows_that_it_is_of_use():
    repeated = RepeatedPiece()
    for _ in range(3 * MAX_LEARNED):
        assert repeated.learn(PIECE)
        assert repeated.matches(PIECE)


class Decoded(StreamReader):
    """Decodes every piece."""

    def _learn(self, *_: object) -> None:
        self._repeated = None


texts = st.text(max_size=4) | st.sampled_from(["a", "[DONE]", "", "\\", '"', "\n"])
kinds = st.sampled_from([
    lambda text: sse(chunk({"content": text})),
    lambda text: sse(chunk({"content": text}, "stop")),
    lambda text: sse(chunk({"reasoning": text, "content": text})),
    lambda text: sse(text_chunk(text)),
    lambda text: sse({"type": "content_block_delta", "delta": {"text": text}}),
    lambda text: sse({"type": "response.output_text.delta", "delta": text}),
    lambda text: sse({"error": {"text": text}}),
    lambda text: sse({"content": text, "stop": False}),
    lambda text: sse({"content": text}, {"content": text}),
    lambda text: sse(text) if "\n" not in text and "\r" not in text else b"",
    lambda text: b'data: {"content": "%b"}\n\n' % text.encode("utf-8", "replace"),
])  # fmt: skip


@given(st.lists(st.tuples(kinds, texts), max_size=12), st.integers(0, 60))
def test_a_stream_says_what_it_says_decoded(events, at):
    pieces = [kind(text) for kind, text in events]
    if pieces and at < len(pieces[0]):  # begin between two events, or not
        pieces[:1] = [pieces[0][:at], pieces[0][at:]]
    found = []
    for reader in (StreamReader(SseEvents(), bug), Decoded(SseEvents(), bug)):
        for at_ns, piece in enumerate(pieces):
            reader.read(piece, at_ns * 10_000)
        found.append(reader.end())
    assert found[0] == found[1]


def test_only_whole_events_are_learned_from():
    reader = StreamReader(SseEvents(), bug)
    for piece in (PIECE, PIECE[:20], PIECE[20:], PIECE[20:], PIECE[20:], b"\n\n", PIECE):
        reader.read(piece, 1)
    assert reader.end().events == 3
