"""ClickHouse's own framing of compressed data (`compress=1` and `decompress=1`): a sequence of blocks.

Pure. A block is a checksum (CityHash128 of everything after it), a byte for the method, the compressed size including
these nine bytes, the uncompressed size, and the data (ClickHouse's ICompressionCodec and CompressedReadBufferBase).
JDBC and clickhouse-go reject a block with a wrong checksum, and so does this module.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128

from endpoint_analytics.infra.local.clickhouse.encoding import DATA_ERRORS, codec_module
from endpoint_analytics.infra.local.clickhouse.errors import refusal

_SIZES = struct.Struct("<BII")
_CHECKSUM = struct.Struct("<QQ")
_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90
_HEADER_BYTES = _CHECKSUM.size + _SIZES.size
_MAX_BLOCK_BYTES = 1 << 26
_OUR_BLOCK_BYTES = 1 << 20


def pack_blocks(data: bytes) -> bytes:
    """Return LZ4 blocks that contain `data`; no block for empty data."""
    return b"".join(_pack(data[at : at + _OUR_BLOCK_BYTES]) for at in range(0, len(data), _OUR_BLOCK_BYTES))


class BlockDecoder:
    """Unpacks blocks incrementally; raises ClickHouseError for data that is not a block, or for a wrong checksum."""

    def __init__(self) -> None:
        self._rest = b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the contents of the blocks that these bytes complete."""
        self._rest += data
        while len(self._rest) >= _HEADER_BYTES:
            method, packed_bytes, plain_bytes = _SIZES.unpack_from(self._rest, _CHECKSUM.size)
            if not _SIZES.size <= packed_bytes <= _MAX_BLOCK_BYTES or plain_bytes > _MAX_BLOCK_BYTES:
                raise refusal(271, "Cannot decompress the request's body: not a compressed block.")
            stop = _CHECKSUM.size + packed_bytes
            if len(self._rest) < stop:
                break
            block, self._rest = self._rest[:stop], self._rest[stop:]
            if block[: _CHECKSUM.size] != _checksum(block[_CHECKSUM.size :]):
                raise refusal(40, "Checksum doesn't match: corrupted data in the request's body.")
            yield _unpack(method, block[_HEADER_BYTES:], plain_bytes)

    def finish(self) -> None:
        """Raise ClickHouseError if a block is incomplete."""
        if self._rest:
            raise refusal(271, "Cannot decompress the request's body: it ends too early.")


def _pack(data: bytes) -> bytes:
    packed = bytes(lz4.block.compress(data, store_size=False))
    block = _SIZES.pack(_LZ4, _SIZES.size + len(packed), len(data)) + packed
    return _checksum(block) + block


def _checksum(data: bytes) -> bytes:
    high, low = divmod(CityHash128(data), 1 << 64)
    return _CHECKSUM.pack(high, low)


def _unpack(method: int, packed: bytes, plain_bytes: int) -> bytes:
    if method == _NONE:
        return packed
    zstd: Any = codec_module("zstd")
    if method not in (_LZ4, _ZSTD) or (method == _ZSTD and zstd is None):
        raise refusal(432, f"Unknown codec family code: {method}.")
    try:
        if method == _LZ4:
            return bytes(lz4.block.decompress(packed, uncompressed_size=plain_bytes))
        return bytes(zstd.ZstdDecompressor().decompress(packed, plain_bytes))
    except DATA_ERRORS as error:
        raise refusal(271, f"Cannot decompress the request's body: {error}.") from error
