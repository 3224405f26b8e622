"""How far the log is stored already: the chunks that earlier readers wrote."""

from __future__ import annotations

from typing import NamedTuple

from clickhouse_connect.driver.asyncclient import AsyncClient

from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record

_READ = """
SELECT chunk, any(toUnixTimestamp(chunk_time)), max(version) AS through FROM chunks
WHERE stream = {stream:String} AND partition = {partition:UInt32} AND chunk < {offset:UInt64}
GROUP BY chunk
ORDER BY through >= {offset:UInt64} DESC, chunk DESC
LIMIT 2
"""


class StoredChunk(NamedTuple):
    """A chunk by its first offset, and how far it is stored."""

    chunk: int
    through: int


async def read_chunk_of(
    client: AsyncClient, stream: str, partition: int, record: Record, rule: ChunkRule
) -> StoredChunk | None:
    """Return the stored chunk that holds `record`, a reader's first message, behind its own first; mostly none does.

    A reader begins at a chunk's first message. But the log's head may have been deleted and offsets reset to it, or
    offsets set to somewhere by hand; or the chunk was taken for ended, as nothing came for long, and the broker's clock
    stepped back. Then the message must not be counted into another chunk.
    A chunk of a topic that was deleted and made anew has such offsets too, and by its time holds no `record`.
    """
    parameters = {"stream": stream, "partition": partition, "offset": record.offset}
    rows = (await client.query(_READ, parameters=parameters)).result_rows
    chunks = [
        (StoredChunk(int(chunk), int(through)), Record(chunk, int(chunk_s) * 1000, None))
        for chunk, chunk_s, through in rows
    ]
    holding = [found for found, first in chunks if not rule.begins(first, record)]
    newest = max((found.chunk for found, _ in chunks), default=None)
    # A chunk ends where the next begins, so that only the newest may go on behind what is stored of it.
    return next((found for found in holding if found.through >= record.offset or found.chunk == newest), None)
