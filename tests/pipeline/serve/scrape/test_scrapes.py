"""A scrape in which ClickHouse fails a part of the queries: histograms are left out, all other figures are there."""

import asyncio
import re
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.store.rows import boot, insert, window

from endpoint_analytics.pipeline.serve.scrape.scrapes import MOST_AT_ONCE, Scrapes, TooManyScrapesError
from endpoint_analytics.pipeline.serve.scrape.selection import Selection
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


class CountingReader(ClientExecutor):
    """A real client that counts the queries of one table, each of which may wait for `turn`."""

    def __init__(self, client, turn: asyncio.Event | None = None) -> None:
        super().__init__(client)
        self.asked = 0
        self.turn = turn

    async def read(self, sql, parameters):
        self.asked += "FROM boots FINAL" in sql
        if self.turn is not None:
            await self.turn.wait()
        return await super().read(sql, parameters)


def make(reader, keep_s: float = 0) -> Scrapes:
    return Scrapes(
        reader,
        MetricsSettings(),
        cached_progress(reader, time.monotonic),
        keep_s=keep_s,
        entries=100,
        now=lambda: datetime.now(UTC),
        clock=time.monotonic,
    )


def names_of(exposition) -> set[str]:
    return {family.name for family in exposition.families}


def test_what_is_selected_is_taken_from_one_reading(client):
    reader = CountingReader(client)

    async def many():
        scrapes = make(reader, keep_s=60)
        chosen = [Selection(families=frozenset({name})) for name in ("http_requests", "pending_requests")]
        chosen += [Selection(replicas=frozenset({f"r{number}"})) for number in range(10)]
        return [(await scrapes.scrape(Scope("acme"), each))[0] for each in chosen]

    expositions = asyncio.run(many())
    assert names_of(expositions[0]) == {"http_requests"}
    assert reader.asked == 2  # with histograms and without


@pytest.mark.parametrize(
    ("names", "tables"),
    [
        ({"http_requests_total", "replica_state", "data_timestamp_seconds"}, set()),
        ({"latency_distribution_count"}, {"request_windows"}),
        ({"gpu_usage_percent"}, {"hardware_windows"}),
        ({"engine_of_our_own"}, {"engine_windows"}),
        ({"autoscaling_pending_requests"}, {"request_windows", "hardware_windows"}),
        (None, {"request_windows", "hardware_windows", "engine_windows"}),
    ],
)
def test_only_what_is_needed_is_read(client, names, tables):
    asked = set()

    class Reader(ClientExecutor):
        async def read(self, sql, parameters):
            asked.update(re.findall(r"FROM (\w+_windows)", sql))
            return await super().read(sql, parameters)

    chosen = Selection(families=None if names is None else frozenset(names))
    assert asyncio.run(make(Reader(client)).scrape(Scope("acme"), chosen))[0] is not None
    assert asked == tables
    asked.clear()
    without = replace(chosen, replicas=frozenset())  # figures of whole endpoints only
    assert asyncio.run(make(Reader(client)).scrape(Scope("acme"), without))[0] is not None
    of_replicas = {"gpu_usage_percent", "engine_of_our_own"}
    assert asked == (set() if names and names <= of_replicas else tables - {"engine_windows"})


@pytest.mark.parametrize("named", [("left",), ("left", "other-that-left")])
def test_an_endpoint_that_has_left_is_only_at_its_own_url(client, named):
    insert(
        client, "boot_states", [boot(datetime.now(UTC), endpoint=name, age_s=8 * 86_400) for name in named]
    )
    scrapes, chosen = make(ClientExecutor(client)), Selection(endpoints=frozenset(named))
    assert asyncio.run(scrapes.scrape(Scope("acme"), chosen))[0] is None
    assert asyncio.run(make(ClientExecutor(client)).scrape(Scope("acme", named[0])))[0] is not None


def test_one_namespace_gets_a_bounded_number_of_turns(client):
    """Scrapes that differ are refused beyond it; those of others are not."""

    async def crowd():
        turn = asyncio.Event()
        scrapes = make(CountingReader(client, turn))
        chosen = [Selection(replicas=frozenset({str(number)})) for number in range(MOST_AT_ONCE + 5)]
        waiting = [asyncio.create_task(scrapes.scrape(Scope("acme"), each)) for each in chosen]
        other = asyncio.create_task(scrapes.scrape(Scope("acme", "llm")))
        await asyncio.sleep(0.1)
        turn.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        again, _ = await scrapes.scrape(Scope("acme"), chosen[-1])
        return found, (await other)[0], again

    found, other, again = asyncio.run(crowd())
    assert sum(isinstance(each, TooManyScrapesError) for each in found) == 5
    assert "http_requests" in names_of(other)
    assert again is not None


def test_scrapes_of_single_endpoints_take_no_turns_of_their_namespace(client):
    async def crowd():
        turn = asyncio.Event()
        scrapes = make(CountingReader(client, turn))
        chosen = [Selection(replicas=frozenset({str(number)})) for number in range(MOST_AT_ONCE)]
        waiting = [asyncio.create_task(scrapes.scrape(Scope("acme", "llm"), each)) for each in chosen]
        await asyncio.sleep(0)
        whole = asyncio.create_task(scrapes.scrape(Scope("acme")))
        await asyncio.sleep(0)
        turn.set()
        await asyncio.gather(*waiting)
        return (await whole)[0]

    assert "http_requests" in names_of(asyncio.run(crowd()))


def test_histograms_that_take_too_long_are_left_out(client, monkeypatch):
    class Slow(ClientExecutor):
        async def read(self, sql, parameters):
            if "FROM request_hours" in sql:
                await asyncio.sleep(30)
            return await super().read(sql, parameters)

    monkeypatch.setattr("endpoint_analytics.pipeline.serve.scrape.scrapes.HISTOGRAMS_WITHIN_S", 0.2)
    exposition, _ = asyncio.run(make(Slow(client)).scrape(Scope("acme", "llm")))
    assert "http_requests" in names_of(exposition)
    assert "latency_seconds" not in names_of(exposition)


@pytest.mark.parametrize("table", ["nothing", "rollups", "request_hours", "request_minutes"])
def test_histograms_that_cannot_be_read_are_left_out(client, table):
    reader = FailingReader(client, table)
    exposition, _ = asyncio.run(make(reader).scrape(Scope("acme", "llm")))
    names = names_of(exposition)
    assert {"http_requests", "latency_distribution"} <= names
    assert ("latency_seconds" in names) == (table == "nothing")
