"""How far the log is stored already: the chunks that earlier readers wrote."""

from __future__ import annotations

from clickhouse_connect.driver.asyncclient import AsyncClient

from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record

_READ = """
SELECT chunk, any(toUnixTimestamp(chunk_time)), max(version) FROM chunks
WHERE stream = {stream:String} AND partition = {partition:UInt32}
  AND chunk < {offset:UInt64} AND version >= {offset:UInt64}
GROUP BY chunk
"""


async def read_stored_through(
    client: AsyncClient, stream: str, partition: int, record: Record, rule: ChunkRule
) -> int | None:
    """Return the last stored offset of the chunk that holds `record` behind its first message, or None.

    A reader begins at a chunk's first message, unless the log's head was deleted and its offsets were reset.
    Then it begins within a chunk whose rows are stored: it must not count those messages into another chunk.
    A chunk of a topic that was deleted and made anew has such offsets too, and by its time holds no `record`.
    """
    parameters = {"stream": stream, "partition": partition, "offset": record.offset}
    rows = (await client.query(_READ, parameters=parameters)).result_rows
    holding = [
        int(version)
        for chunk, chunk_s, version in rows
        if not rule.begins(Record(chunk, int(chunk_s) * 1000, None), record)
    ]
    return max(holding, default=None)
