"""Compressing a reply's body, in the codings that HTTP names.

Pure but for the compressors' own state. What is not installed is not offered.
"""

from __future__ import annotations

import importlib
import zlib
from functools import lru_cache
from typing import Any, Protocol

# In the order of ClickHouse's own preference.
_PREFERENCE = ("zstd", "lz4", "gzip", "deflate")


class Encoder(Protocol):
    """Compresses a body piece by piece."""

    def encode(self, data: bytes) -> bytes: ...  # noqa: D102
    def finish(self) -> bytes: ...  # noqa: D102


def choose_encoding(accepted: str) -> str:
    """The best of the codings in an Accept-Encoding header that is installed here; empty for none."""
    offers = [part.replace(" ", "").lower().partition(";") for part in accepted.split(",")]
    words = {name for name, _, weight in offers if weight not in ("q=0", "q=0.0")}
    return next((name for name in _PREFERENCE if name in words and codec_module(name) is not None), "")


def make_encoder(name: str, level: int = 3) -> Encoder:
    """An encoder for a name that `choose_encoding` gave; `level` is zlib's."""
    if name == "lz4":
        return _Lz4Encoder()
    if name == "zstd":
        return _FlushingEncoder(codec_module(name).ZstdCompressor(level=1))
    return _FlushingEncoder(zlib.compressobj(level, zlib.DEFLATED, 31 if name == "gzip" else 15))


@lru_cache
def codec_module(name: str) -> Any:
    """The module that does a coding, or None."""
    names = {"zstd": ("compression.zstd", "backports.zstd"), "lz4": ("lz4.frame",)}.get(name, ("zlib",))
    for module in names:
        try:
            return importlib.import_module(module)
        except ImportError:
            continue
    return None


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


DATA_ERRORS = _bad_data()


class _FlushingEncoder:
    """zlib and zstd: compress, then flush once."""

    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor

    def encode(self, data: bytes) -> bytes:
        return bytes(self._compressor.compress(data))

    def finish(self) -> bytes:
        return bytes(self._compressor.flush())


class _Lz4Encoder:
    """lz4 wants its frame begun."""

    def __init__(self) -> None:
        self._compressor = codec_module("lz4").LZ4FrameCompressor()
        self._head: bytes = self._compressor.begin()

    def encode(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._compressor.compress(data))

    def finish(self) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._compressor.flush())
