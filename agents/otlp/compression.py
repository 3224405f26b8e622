"""Decompresses a body, within a limit of bytes. Pure."""

from __future__ import annotations

import zlib
from mmap import mmap

import cramjam

from endpoint_analytics.agents.otlp.errors import BadBodyError

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS, "zlib": zlib.MAX_WBITS}
"""HTTP's `deflate` is zlib's format (RFC 9110, 8.4.1.2); Collectors call it `zlib` too."""
SUPPORTED = (*_WINDOWS, "zstd")


def plain_body(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the body without its content encoding; raises BadBodyError, also if it is larger than `max_bytes`."""
    if encoding in {"", "identity", "none"}:
        return body
    if encoding in _WINDOWS:
        return _inflate(body, encoding, max_bytes)
    if encoding == "zstd":
        return _unpack_zstd(body, max_bytes)
    supported = ", ".join(SUPPORTED)
    raise BadBodyError(
        415, f"the content encoding {encoding[:32]!r} is not supported: send {supported} or none"
    )


def _inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    reader = zlib.decompressobj(_WINDOWS[encoding])
    try:
        plain = reader.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BadBodyError(400, f"the body is not valid {encoding}: {error}") from error
    if len(plain) > max_bytes:
        raise _too_large(max_bytes)
    if not reader.eof or reader.unused_data:
        raise BadBodyError(400, f"the {encoding} body is truncated, or followed by other bytes")
    return plain


def _unpack_zstd(body: bytes, max_bytes: int) -> bytes:
    with mmap(-1, max_bytes + 1) as plain:  # its pages are allocated when they are written
        try:
            size = cramjam.zstd.decompress_into(body, plain)
        except cramjam.DecompressionError as error:
            if "whole buffer" in str(error):
                raise _too_large(max_bytes) from error
            raise BadBodyError(400, f"the body is not valid zstd: {str(error)[:200]}") from error
        if size > max_bytes:
            raise _too_large(max_bytes)
        return plain[:size]


def _too_large(max_bytes: int) -> BadBodyError:
    return BadBodyError(413, f"the decompressed body is larger than {max_bytes} bytes")
