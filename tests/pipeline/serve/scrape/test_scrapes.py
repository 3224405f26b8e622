"""A scrape in which ClickHouse fails a part of the queries: histograms are left out, all other figures are there."""

import asyncio
import time
from datetime import UTC, datetime

import pytest
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.store.rows import boot, insert, window

from endpoint_analytics.pipeline.serve.scrape.scrapes import Scrapes
from endpoint_analytics.pipeline.store.endpoint_metrics import MetricsSettings
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.rollup import cached_progress, roll_up
from endpoint_analytics.pipeline.store.scope import Scope


class FailingReader(ClientExecutor):
    """A real client that has no time for queries of one table."""

    def __init__(self, client, table: str) -> None:
        super().__init__(client)
        self._table = table

    async def read(self, sql, parameters):
        if f"FROM {self._table}" in sql:
            raise StoreError("ClickHouse did not answer within 5 s")
        return await super().read(sql, parameters)


@pytest.fixture(scope="module", autouse=True)
def _rows(client):
    now = datetime.now(UTC)
    insert(client, "boot_states", [boot(now, status={200: 5})])
    insert(client, "request_windows", [window(now, latency={1280: 5}, ttfb={1200: 5})])
    asyncio.run(roll_up(ClientExecutor(client)))


@pytest.mark.parametrize("table", ["nothing", "rollups", "request_hours", "request_minutes"])
def test_histograms_that_cannot_be_read_are_left_out(client, table):
    reader = FailingReader(client, table)
    scrapes = Scrapes(
        reader,
        MetricsSettings(),
        cached_progress(reader, time.monotonic),
        keep_s=0,
        entries=10,
        now=lambda: datetime.now(UTC),
        clock=time.monotonic,
    )
    exposition, _ = asyncio.run(scrapes.scrape(Scope("acme", "llm")))
    names = {family.name for family in exposition.families}
    assert {"http_requests", "latency_distribution"} <= names
    assert ("latency_seconds" in names) == (table == "nothing")
