"""Compressed bodies: within the limit, whole, and of known encodings."""

import gzip
import zlib
from functools import partial

import cramjam
import pytest

from endpoint_analytics.agents.otlp.compression import plain_body
from endpoint_analytics.agents.otlp.errors import BadBodyError

PACKERS = {"gzip": partial(gzip.compress, mtime=0), "deflate": zlib.compress, "zlib": zlib.compress}
PACKERS["zstd"] = lambda plain: bytes(cramjam.zstd.compress(plain))


@pytest.mark.parametrize("encoding", PACKERS)
def test_what_collectors_and_sdks_send(encoding):
    assert plain_body(PACKERS[encoding](b"x" * 100), encoding, 100) == b"x" * 100


def test_none():
    assert plain_body(b"x", "identity", 100) == plain_body(b"x", "", 100) == b"x"


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("size", [101, 100_000_000])
def test_larger_than_the_limit(encoding, size):
    with pytest.raises(BadBodyError, match="larger than 100 bytes") as caught:
        plain_body(PACKERS[encoding](bytes(size)), encoding, 100)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        *((packed(b"x" * 50)[:-4], name, 400) for name, packed in PACKERS.items()),
        *((b"plain", name, 400) for name in PACKERS),
        (gzip.compress(b"x", mtime=0) + b"more", "gzip", 400),
        (b"x", "br", 415),
        (b"x", "snappy", 415),
    ],
)
def test_bad_encodings(body, encoding, status):
    with pytest.raises(BadBodyError) as caught:
        plain_body(body, encoding, 100)
    assert caught.value.status == status
