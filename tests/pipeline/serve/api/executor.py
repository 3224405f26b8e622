"""Rollup statements and queries on a plain client, for tests."""

from __future__ import annotations


class ClientExecutor:
    def __init__(self, client) -> None:
        self._client = client

    async def read(self, sql, parameters):
        return self._client.query(sql, parameters=dict(parameters)).result_rows

    async def read_binary(self, sql, parameters):
        return self._client.raw_query(sql, dict(parameters), {"wait_end_of_query": 1}, fmt="RowBinary")

    async def execute(self, sql, parameters):
        self._client.command(sql, parameters=dict(parameters))
