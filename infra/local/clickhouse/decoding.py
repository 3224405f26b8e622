"""Decompresses a request's body: HTTP's content codings, and ClickHouse's own block framing.

Pure except for the decompressors' state. A body may consist of several frames, because some clients compress block
by block. The output is produced in pieces of bounded size, so a small body cannot fill the memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from endpoint_analytics.infra.local.clickhouse.blocks import BlockDecoder
from endpoint_analytics.infra.local.clickhouse.encoding import DATA_ERRORS, codec_module
from endpoint_analytics.infra.local.clickhouse.errors import refusal

_PIECE_BYTES = 1 << 20


class Decoder(Protocol):
    """Decompresses a body piece by piece."""

    def decode(self, data: bytes) -> Iterator[bytes]: ...  # noqa: D102
    def finish(self) -> None: ...  # noqa: D102


def make_decoder(name: str) -> Decoder:
    """Return a decoder for a Content-Encoding header; raises ClickHouseError if it is not supported."""
    if name == "clickhouse":
        return BlockDecoder()
    known = {"gzip": 31, "x-gzip": 31, "deflate": 15}
    if name in known:
        return _FrameDecoder(lambda: _ZlibDecompressor(known[name]))
    module = codec_module(name) if name in ("lz4", "zstd") else None
    if module is None:
        raise refusal(48, f"Content-Encoding {name} is not supported.")
    return _FrameDecoder(module.LZ4FrameDecompressor if name == "lz4" else module.ZstdDecompressor)


class _FrameDecoder:
    """Decompresses a sequence of frames, each with its own decompressor."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._decompressor: Any = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._decompressor is None:
                self._decompressor = self._make()
            decompressor = self._decompressor
            yield self._step(data)
            while not decompressor.eof and not decompressor.needs_input:
                yield self._step(b"")
            data = b""
            if decompressor.eof:
                data, self._decompressor = bytes(decompressor.unused_data or b""), None

    def finish(self) -> None:
        if self._decompressor is not None:
            raise refusal(271, "Cannot decompress the request's body: it ends too early.")

    def _step(self, data: bytes) -> bytes:
        try:
            return bytes(self._decompressor.decompress(data, _PIECE_BYTES))
        except DATA_ERRORS as error:
            raise refusal(271, f"Cannot decompress the request's body: {error}.") from error


class _ZlibDecompressor:
    """zlib's decompressor with the interface that those of lz4 and zstd share."""

    def __init__(self, window_bits: int) -> None:
        self._object = zlib.decompressobj(window_bits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        plain = self._object.decompress(self._object.unconsumed_tail + data, max_length)
        self.needs_input = not self._object.unconsumed_tail and len(plain) < max_length
        return plain
