"""Decompressing a request's body: the codings HTTP names, and ClickHouse's own framing of blocks.

Pure but for the decompressors' own state. Several frames may follow one another, as clients send them
that compress block by block. What comes out is cut into pieces: a small body cannot fill the memory.
"""

from __future__ import annotations

import importlib
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from endpoint_analytics.infra.clickhouse.encoding import codec_module
from endpoint_analytics.infra.clickhouse.errors import refusal

_BLOCK_HEADER = struct.Struct("<16sBII")  # CityHash128, method, size with these 9 bytes, size before
_MAX_BLOCK_BYTES = 1 << 26
_PIECE_BYTES = 1 << 20


class Decoder(Protocol):
    """Decompresses a body piece by piece."""

    def decode(self, data: bytes) -> Iterator[bytes]: ...  # noqa: D102
    def finish(self) -> None: ...  # noqa: D102


def make_decoder(name: str) -> Decoder:
    """A decoder for a Content-Encoding header; raises ClickHouseError when there is none."""
    if name == "clickhouse":
        return _BlockDecoder()
    known = {"gzip": 31, "x-gzip": 31, "deflate": 15}
    if name in known:
        return _FrameDecoder(lambda: _ZlibDecompressor(known[name]))
    module = codec_module(name) if name in ("lz4", "zstd") else None
    if module is None:
        raise refusal(48, f"Content-Encoding {name} is not supported.")
    return _FrameDecoder(module.LZ4FrameDecompressor if name == "lz4" else module.ZstdDecompressor)


class _FrameDecoder:
    """Frame after frame, each with a decompressor of its own."""

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
        except _BAD_DATA as error:
            raise refusal(271, f"Cannot decompress the request's body: {error}.") from error


class _ZlibDecompressor:
    """zlib's decompressor behind the interface that those of lz4 and zstd share."""

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


def _bad_data() -> tuple[type[Exception], ...]:
    """What the decompressors raise for bytes that are not theirs."""
    errors: list[type[Exception]] = [
        zlib.error,
        RuntimeError,
        ValueError,
        EOFError,
        ImportError,
        AttributeError,
    ]
    if (module := codec_module("zstd")) is not None:
        errors.append(module.ZstdError)
    return tuple(errors)


_BAD_DATA = _bad_data()


class _BlockDecoder:
    """`decompress=1`: ClickHouse's compressed blocks. TCP guards the bytes; checksums are not compared."""

    def __init__(self) -> None:
        self._rest = b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while len(self._rest) >= _BLOCK_HEADER.size:
            _, method, packed_bytes, plain_bytes = _BLOCK_HEADER.unpack_from(self._rest)
            if not 9 <= packed_bytes <= _MAX_BLOCK_BYTES or plain_bytes > _MAX_BLOCK_BYTES:
                raise refusal(271, "Cannot decompress the request's body: not a compressed block.")
            stop = 16 + packed_bytes
            if len(self._rest) < stop:
                break
            yield _unpack(method, self._rest[_BLOCK_HEADER.size : stop], plain_bytes)
            self._rest = self._rest[stop:]

    def finish(self) -> None:
        if self._rest:
            raise refusal(271, "Cannot decompress the request's body: it ends too early.")


def _unpack(method: int, packed: bytes, plain_bytes: int) -> bytes:
    try:
        if method == 0x82:
            return bytes(
                importlib.import_module("lz4.block").decompress(packed, uncompressed_size=plain_bytes)
            )
        if method == 0x90:
            return bytes(codec_module("zstd").decompress(packed))
    except _BAD_DATA as error:
        raise refusal(271, f"Cannot decompress the request's body: {error}.") from error
    if method == 0x02:
        return packed
    raise refusal(432, f"Unknown codec family code: {method}.")
