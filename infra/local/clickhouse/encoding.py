"""Compresses a reply's body with HTTP's content codings.

Pure except for the compressors' state. A coding whose package is not installed is not offered.
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
    """Return the best installed coding from an Accept-Encoding header, or "" if there is none."""
    offers = [part.replace(" ", "").lower().partition(";") for part in accepted.split(",")]
    words = {name for name, _, weight in offers if weight not in ("q=0", "q=0.0")}
    return next((name for name in _PREFERENCE if name in words and codec_module(name) is not None), "")


def make_encoder(name: str, level: int = 3) -> Encoder:
    """Return an encoder for a name from `choose_encoding`; `level` is zlib's."""
    if name == "lz4":
        return _Lz4Encoder()
    if name == "zstd":
        return _FlushingEncoder(codec_module(name).ZstdCompressor(level=1))
    return _FlushingEncoder(zlib.compressobj(level, zlib.DEFLATED, 31 if name == "gzip" else 15))


@lru_cache
def codec_module(name: str) -> Any:
    """Return the module that implements a coding, or None."""
    names = {"zstd": ("compression.zstd", "backports.zstd"), "lz4": ("lz4.frame",)}.get(name, ("zlib",))
    for module in names:
        try:
            return importlib.import_module(module)
        except ImportError:
            continue
    return None


def _bad_data() -> tuple[type[Exception], ...]:
    """Return the exceptions that decompressors raise for invalid data."""
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
    """lz4, whose frame header must be written first."""

    def __init__(self) -> None:
        self._compressor = codec_module("lz4").LZ4FrameCompressor()
        self._head: bytes = self._compressor.begin()

    def encode(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._compressor.compress(data))

    def finish(self) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._compressor.flush())
