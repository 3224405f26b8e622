"""The data of a chunked body: all of it, no framing, as soon as it comes, in whatever pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.proxy.chunk_data import ChunkData
from endpoint_analytics.agents.proxy.framing import ChunkedBody

BODY = b"5\r\nhello\r\n00a;name=value\r\n\r\n5\r\nx\r\n\r\n\r\n1 \r\n!\r\n0\r\nX-Sum: 1\r\nX-2: 0\r\n\r\n"
DATA = b"hello\r\n5\r\nx\r\n\r\n!"


def pieces_of(body: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(at)]


def test_the_body_is_what_the_proxy_takes():
    framing = ChunkedBody()
    assert framing.feed(BODY) == len(BODY)
    assert framing.is_done


@given(places=st.lists(st.integers(0, 200), max_size=8))
def test_its_data_comes_in_any_pieces(places):
    data = ChunkData()
    assert b"".join(data.feed(piece) for piece in pieces_of(BODY, places)) == DATA


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    places=st.lists(st.integers(0, 500), max_size=8),
)
def test_any_data_comes_in_any_pieces(chunks, places):
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    data = ChunkData()
    assert b"".join(data.feed(piece) for piece in pieces_of(body, places)) == b"".join(chunks)


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([b"3\r\nabc\r\n", b"2\r\nde\r\n"], [b"abc", b"de"]),
        ([b"3\r\nab", b"c", b"\r\n2", b"\r\nde\r\n0\r\n\r\n"], [b"ab", b"c", b"", b"de"]),
        ([b"3\r\nabc\r\n2\r\nde\r\n"], [b"abcde"]),
        ([b"", b"0\r\n", b"A: 4\r\n\r\n"], [b"", b"", b""]),
    ],
)
def test_nothing_is_held_back(pieces, found):
    data = ChunkData()
    assert [data.feed(piece) for piece in pieces] == found
