"""Native blocks for clients that name a protocol revision, such as clickhouse-go (and so Grafana).

Pure. The engine writes blocks of revision 0. From revision 51903 on a block starts with its BlockInfo, and
from 54454 on each column's type is followed by a byte that announces a custom serialization. Both are
inserted here; the columns' bytes stay as they are.
"""

from __future__ import annotations

from endpoint_analytics.infra.local.clickhouse.native_type import parse_native_type, read_varint

MIN_REVISION = 54454
"""DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION: below it `client_protocol_version` is ignored."""

# Field 1: no overflow rows; field 2: bucket number -1; end of fields.
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"


class BlockRewriter:
    """Rewrites blocks: takes bytes split anywhere, returns whole blocks of the newer revision."""

    def __init__(self) -> None:
        self._data = b""
        self._try_at = 0

    def feed(self, data: bytes) -> bytes:
        """Return the blocks that these bytes complete; raises ClickHouseError for a type of unknown layout."""
        self._data += data
        parts: list[bytes] = []
        while len(self._data) > self._try_at:
            try:
                block, stop = _rewrite(self._data)
            except IndexError:
                # Retry a long block only once its data has grown by half.
                self._try_at = len(self._data) + len(self._data) // 2
                break
            parts.append(block)
            self._data = self._data[stop:]
            self._try_at = 0
        return b"".join(parts)

    def finish(self) -> bytes:
        """Return the last blocks."""
        self._try_at = 0
        return self.feed(b"")


def _rewrite(data: bytes) -> tuple[bytes, int]:
    """Return the first block in `data`, rewritten, and where the next one starts; IndexError if it is incomplete."""
    columns, position = read_varint(data, 0)
    rows, position = read_varint(data, position)
    parts = [_BLOCK_INFO, data[:position]]
    for _ in range(columns):
        start = position
        size, position = read_varint(data, position)
        size, position = read_varint(data, position + size)
        type_at, position = position, position + size
        if position > len(data):
            raise IndexError
        layout = parse_native_type(data[type_at:position].decode())
        parts += (data[start:position], b"\x00")
        if rows:
            start, position = position, layout.walk(data, position + layout.prefix_bytes, rows)
            if position > len(data):
                raise IndexError
            parts.append(data[start:position])
    return b"".join(parts), position
