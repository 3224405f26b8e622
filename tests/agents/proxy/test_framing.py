"""Bodies: where they end, however their bytes are split, and what is malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.proxy.framing import BadBodyError, ChunkedBody, LengthBody, UntilClose

CHUNKED = b'5\r\nhello\r\nA;ext="1"\r\n0123456789\r\n0\r\nTrailer: a\r\n\r\n'


def feed(body, data: bytes, sizes: list[int]) -> bytes:
    """Return what the body leaves of the data, when it is fed in pieces of these sizes (the last for ever)."""
    at = 0
    while at < len(data) and not body.is_done:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        piece = data[at : at + size]
        taken = body.feed(piece)
        assert taken == len(piece) or body.is_done
        at += taken
    return data[at:]


@given(st.lists(st.integers(1, 20), min_size=1))
def test_a_chunked_body_ends_with_its_trailers(sizes):
    body = ChunkedBody()
    assert feed(body, CHUNKED + b"next", sizes) == b"next"
    assert body.is_done


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=5),
    st.lists(st.integers(1, 100), min_size=1),
)
def test_any_chunks(chunks, sizes):
    data = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    body = ChunkedBody()
    assert feed(body, data + b"next", sizes) == b"next"


@pytest.mark.parametrize(
    "data",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhellox\r\n0\r\n\r\n",
        b"5\r\nhell\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"5\r\r\nhello\r\n",
        b"1234567890123456\r\n",
        b"g\r\n",
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\n\n",
        b"5;" + b"a" * 5_000,
        b"0\r\nX: " + b"a" * 20_000,
        b"0\r\n" + b"X: a\r\n" * 3_000,
    ],
    ids=lambda data: repr(data[:20]),
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_malformed_chunks(data, size):
    with pytest.raises(BadBodyError):
        feed(ChunkedBody(), data, [size])


def test_a_length_and_until_close():
    body = LengthBody(10)
    assert (body.feed(b"1234"), body.is_done) == (4, False)
    assert (body.feed(b"567890rest"), body.is_done) == (6, True)
    endless = UntilClose()
    assert (endless.feed(b"all"), endless.is_done) == (3, False)
