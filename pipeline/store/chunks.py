"""How far the log is stored already: the chunks that earlier readers wrote."""

from __future__ import annotations

from clickhouse_connect.driver.asyncclient import AsyncClient

_READ = """
SELECT max(version) FROM chunks
WHERE stream = {stream:String} AND partition = {partition:UInt32}
  AND chunk < {offset:UInt64} AND version >= {offset:UInt64}
"""


async def read_stored_through(client: AsyncClient, stream: str, partition: int, offset: int) -> int | None:
    """Return the last stored offset of the chunk that holds `offset` behind its first message, or None.

    A reader begins at a chunk's first message, unless the log's head was deleted and its offsets were reset.
    Then it begins within a chunk whose rows are stored: it must not count those messages into another chunk.
    """
    parameters = {"stream": stream, "partition": partition, "offset": offset}
    [(version,)] = (await client.query(_READ, parameters=parameters)).result_rows
    return int(version) or None
