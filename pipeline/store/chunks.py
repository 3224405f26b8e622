"""How far the Kafka log is already stored: the chunks that earlier readers wrote."""

from __future__ import annotations

from typing import NamedTuple

from clickhouse_connect.driver.asyncclient import AsyncClient

from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record, StoredChunks

_READ = """
SELECT chunk, any(toUnixTimestamp(chunk_time)), max(version) AS through FROM chunks
WHERE stream = {stream:String} AND partition = {partition:UInt32} AND chunk < {offset:UInt64}
GROUP BY chunk
ORDER BY through >= {offset:UInt64} DESC, chunk DESC
LIMIT 2
"""

_STORED = """
SELECT chunk, chunk_s, max(through) FROM (
    SELECT chunk, toUnixTimestamp(chunk_time) AS chunk_s, version AS through FROM chunks
    WHERE stream = {stream:String} AND partition = {partition:UInt32} AND chunk >= {offset:UInt64}
    UNION ALL
    SELECT chunk, toUnixTimestamp(chunk_time), version FROM boots
    WHERE stream = {stream:String} AND partition = {partition:UInt32} AND chunk >= {offset:UInt64}
)
GROUP BY chunk, chunk_s
"""
"""A chunk's own row is written less often than its other rows, which go as far."""

_THROUGH = """
SELECT max(version) FROM boots
WHERE stream = {stream:String} AND partition = {partition:UInt32} AND chunk = {chunk:UInt64}
"""
_WINDOWS_THROUGH = """
SELECT max(version) FROM {table:Identifier} WHERE partition = {partition:UInt32} AND chunk = {chunk:UInt64}
"""
_WINDOWS = {
    "requests": "request_windows",
    "hardware": "hardware_windows",
    "engine": "engine_windows",
    "outcomes": "outcome_windows",
}


class FoundChunk(NamedTuple):
    """A chunk by its first offset, and up to which offset it is stored, as far as its own row says."""

    chunk: int
    through: int


async def read_chunk_of(
    client: AsyncClient, stream: str, partition: int, record: Record, rule: ChunkRule
) -> FoundChunk | None:
    """Return the stored chunk that contains `record`, a reader's first message, but not as its first; usually None.

    A reader normally starts at a chunk's first message. But the head of the log may have been deleted and offsets reset
    to it, or offsets may have been set by hand; or the chunk was considered ended because nothing arrived for long, and
    then the broker's clock stepped back. In these cases the message must not be counted into another chunk. A chunk of
    a topic that was deleted and recreated has such offsets too, but its time shows that it does not contain `record`.
    """
    parameters = {"stream": stream, "partition": partition, "offset": record.offset}
    rows = (await client.query(_READ, parameters=parameters)).result_rows
    chunks = [
        (FoundChunk(int(chunk), int(through)), Record(chunk, int(chunk_s) * 1000, None))
        for chunk, chunk_s, through in rows
    ]
    holding = [
        found
        for found, first in chunks
        if not rule.begins(first, record)
        or (found.through >= record.offset and not rule.is_later(first, record))
    ]
    newest = max((found.chunk for found, _ in chunks), default=None)
    # A chunk ends where the next begins, so only the newest may continue past what is stored of it.
    return next((found for found in holding if found.through >= record.offset or found.chunk == newest), None)


async def read_through(client: AsyncClient, stream: str, partition: int, chunk: FoundChunk) -> int:
    """Return up to which offset the newest chunk is stored: its own row is written less often than its other rows."""
    parameters = {"stream": stream, "partition": partition, "chunk": chunk.chunk}
    [[through]] = (await client.query(_THROUGH, parameters=parameters)).result_rows
    newest = [chunk.through, int(through)]
    if stream in _WINDOWS:
        parameters |= {"table": _WINDOWS[stream]}
        [[through]] = (await client.query(_WINDOWS_THROUGH, parameters=parameters)).result_rows
        newest.append(int(through))
    return max(newest)


async def read_chunks_from(client: AsyncClient, stream: str, partition: int, offset: int) -> StoredChunks:
    """Return the stored chunks from the one at `offset` on: usually one or two, but many before a replay."""
    parameters = {"stream": stream, "partition": partition, "offset": offset}
    rows = (await client.query(_STORED, parameters=parameters)).result_rows
    return StoredChunks({(int(chunk), int(chunk_s)): int(through) for chunk, chunk_s, through in rows})
