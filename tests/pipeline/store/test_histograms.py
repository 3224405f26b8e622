"""Histograms of replicas: the same from whichever level they are read, and never smaller than before."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.serve.api.traffic import make_requests, window_rows
from tests.pipeline.store.rows import boot, insert, text

from endpoint_analytics.pipeline.core.sketch import buckets_of
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.durations import BUCKET, COUNT, NO_DURATIONS, Durations, merge
from endpoint_analytics.pipeline.store.endpoint_metrics import HeardFrom
from endpoint_analytics.pipeline.store.histogram_pieces import (
    FURTHEST_BEHIND_S,
    boundaries,
    by_lateness,
    pieces,
)
from endpoint_analytics.pipeline.store.histograms import HistogramReader
from endpoint_analytics.pipeline.store.rollup import read_rollup_progress, roll_up
from endpoint_analytics.pipeline.store.rollup_levels import DAY_S, Retention, RollupProgress
from endpoint_analytics.pipeline.store.scope import EVERYTHING, Key, Scope

NOW_S = int(datetime.now(UTC).timestamp())
BEGIN_S = NOW_S // 3600 * 3600 - 5 * 3600
BOOTS = [("r1", "b1"), ("r1", "b2"), ("r2", "b3"), ("r3", "b4")]


class CountingReader(ClientExecutor):
    def __init__(self, client) -> None:
        super().__init__(client)
        self.asked: Counter[str] = Counter()
        self.named: list[tuple[str, ...]] = []

    async def read_binary(self, sql, parameters):
        self.named.append(tuple(parameters.get("names", ())))
        for table in ("request_hours", "request_minutes", "request_windows"):
            if f"FROM {table} FINAL" in sql:
                self.asked[table] += 1
        return await super().read_binary(sql, parameters)


class SlowReader(CountingReader):
    """Lets others go first before each query."""

    async def read(self, sql, parameters):
        await asyncio.sleep(0)
        return await super().read(sql, parameters)

    async def read_binary(self, sql, parameters):
        await asyncio.sleep(0)
        return await super().read_binary(sql, parameters)


@pytest.fixture(scope="module")
def made():
    return make_requests(BOOTS, BEGIN_S, NOW_S // 10 * 10, 1, random.Random(4))


@pytest.fixture(scope="module")
def filled(config, made):
    client = connect(config)
    insert(client, "request_windows", window_rows(made, []))
    now = datetime.now(UTC)
    first_at = text(datetime.fromtimestamp(BEGIN_S, UTC))
    boots = [boot(now, replica=replica, boot_id=boot_id) for replica, boot_id in BOOTS]
    insert(client, "boot_states", [{**each, "first_at": first_at} for each in boots])
    asyncio.run(roll_up(ClientExecutor(client)))
    yield client
    client.close()


def progress_of(client) -> RollupProgress:
    return asyncio.run(read_rollup_progress(ClientExecutor(client)))


KEY = Key("acme", "llm")
HEARD = HeardFrom(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1))


def read(histograms, progress, now_s=NOW_S, replicas=("r1", "r2"), first_s=BEGIN_S):
    shown = {KEY: dict.fromkeys(replicas, first_s)}
    return asyncio.run(read_of(histograms, Scope(*KEY), shown, progress, now_s)).get(KEY, {})


async def read_of(histograms, scope, shown, progress, now_s=NOW_S):
    return await histograms.read(shown, await histograms.begin(scope, HEARD, now_s, progress))


def truth(made, replica, phase) -> Durations:
    values = [getattr(each, f"{phase}_us") for each in made if each.replica == replica]
    counts = Counter(buckets_of(np.array(values, dtype=np.int64)).tolist())
    buckets = sorted(counts)
    return durations_of(buckets, [counts[bucket] for bucket in buckets], sum(values))


def durations_of(buckets, counts, sum_us) -> Durations:
    return Durations(np.array(buckets, BUCKET), np.array(counts, COUNT), sum_us)


def settled(client) -> RollupProgress:
    """As if all was rolled up a while after it was stored, so that hours are read, too."""
    found = progress_of(client)
    later = {name: getattr(found, name) + 11_000 for name in ("minutes_looked_at_ms", "hours_looked_at_ms")}
    return replace(found, **later)


def test_every_request_of_every_level_is_in_them_once(filled, made):
    progress = settled(filled)
    limits = boundaries(NOW_S, progress)
    assert limits is not None
    assert BEGIN_S < limits.hours_to_s < limits.minutes_to_s < NOW_S  # each level is read
    reader = CountingReader(filled)
    found = read(HistogramReader(reader, 10), progress)
    assert reader.asked.keys() == {"request_hours", "request_minutes", "request_windows"}
    assert found.keys() == {"r1", "r2"}
    for replica, histograms in found.items():
        for phase, durations in histograms.durations.items():
            assert durations == truth(made, replica, phase)


def test_what_is_settled_is_read_once(filled, made):
    reader = CountingReader(filled)
    histograms, progress = HistogramReader(reader, 10), settled(filled)
    first = read(histograms, progress)
    assert reader.asked == {"request_hours": 1, "request_minutes": 1, "request_windows": 1}
    assert read(histograms, progress) == first
    assert reader.asked == {"request_hours": 1, "request_minutes": 1, "request_windows": 2}
    grown = read(histograms, progress, replicas=("r1", "r2", "r3"))
    assert grown["r3"].durations["latency"] == truth(made, "r3", "latency")
    assert {replica: grown[replica] for replica in first} == first


def test_a_replica_that_is_new_costs_no_reading(filled, made):
    reader = CountingReader(filled)
    histograms, progress = HistogramReader(reader, 10), settled(filled)
    first = read(histograms, progress)
    reader.asked.clear()
    found = read(histograms, progress, replicas=("r1", "r2", "new"), first_s=NOW_S - 60)
    assert reader.asked == {"request_windows": 1}
    assert found["new"].durations["latency"].total == 0
    assert {replica: found[replica] for replica in first} == first


def test_a_minute_that_is_settled_is_added_to_what_is_kept(filled, made):
    """As time passes, the boundaries move through all levels: the total stays, and little is read again."""
    reader = CountingReader(filled)
    histograms, progress = HistogramReader(reader, 10), settled(filled)
    expected = truth(made, "r1", "latency")
    for back_s in range(3 * 3600, -1, -1380):
        at_s = NOW_S - back_s
        then = replace(progress, minute_to=at_s // 60 * 60, hour_to=at_s // 3600 * 3600)
        assert read(histograms, then, at_s)["r1"].durations["latency"] == expected
    assert reader.asked["request_minutes"] <= 9


def test_what_takes_long_is_read_in_steps_and_unknown_until_then(filled, made, monkeypatch):
    monkeypatch.setattr("endpoint_analytics.pipeline.store.histograms.ROWS_AT_ONCE", 20)
    monkeypatch.setattr("endpoint_analytics.pipeline.store.histograms.STEPS_AT_ONCE", 3)
    histograms, progress = HistogramReader(CountingReader(filled), 10), settled(filled)
    scrapes = 0
    while not (found := read(histograms, progress)):
        scrapes += 1
    assert 2 < scrapes < 200
    assert found["r1"].durations["latency"] == truth(made, "r1", "latency")
    assert read(histograms, progress) == found


def test_a_replica_that_comes_back_is_read_alone(filled, made):
    """Others are not read again for it, and it has all its requests."""
    reader = CountingReader(filled)
    histograms, progress = HistogramReader(reader, 10), settled(filled)
    read(histograms, progress, replicas=("r1", "r2"))
    reader.asked.clear()
    found = read(histograms, progress, replicas=("r1", "r2", "r3"))
    assert found["r3"].durations["latency"] == truth(made, "r3", "latency")
    assert {names for names in reader.named if names} == {("r3",)}
    reader.asked.clear()
    assert read(histograms, progress, replicas=("r1", "r2", "r3")) == found
    assert reader.asked == {"request_windows": 1}


def test_a_replica_that_was_absent_for_one_scrape(filled, made):
    """What is kept of it is still there, although nothing was read meanwhile, or only of others."""
    progress = settled(filled)
    histograms = HistogramReader(CountingReader(filled), 10)
    everything = read(histograms, progress)
    for absent, present in (("r1", "r2"), ("r2", "r1")):
        earlier = replace(progress, minute_to=progress.minute_to - 600)
        read(histograms, earlier, NOW_S - 600, replicas=(present,))
        found = read(histograms, progress, replicas=("r1", "r2"))
        assert found == everything, absent


def test_a_replica_that_turns_out_to_be_older_is_read_again(filled, made):
    """Its first windows were rolled up before its agent's row was stored."""
    progress = settled(filled)
    histograms = HistogramReader(CountingReader(filled), 10)
    read(histograms, progress, first_s=BEGIN_S + 2 * 3600)
    found = read(histograms, progress, first_s=BEGIN_S)
    assert found["r1"].durations["latency"] == truth(made, "r1", "latency")


def test_an_endpoint_that_is_read_again_does_not_hide_the_others(filled, made, monkeypatch):
    """Nor does one of which too much is to be read for one scrape."""
    histograms, progress = HistogramReader(CountingReader(filled), 1), settled(filled)
    other = Key("acme", "other")
    first = {KEY: {"r1": BEGIN_S}, other: {"r1": NOW_S}}
    asyncio.run(read_of(histograms, Scope("acme"), first, progress))
    monkeypatch.setattr("endpoint_analytics.pipeline.store.histograms.ROWS_AT_ONCE", 10)
    monkeypatch.setattr("endpoint_analytics.pipeline.store.histograms.STEPS_AT_ONCE", 1)
    fresh = {KEY: {"r1": BEGIN_S}, other: {"r1": NOW_S}, Key("acme", "new"): {"r1": BEGIN_S}}
    found = asyncio.run(read_of(histograms, Scope("acme"), fresh, progress))
    assert found.keys() == {KEY, other}
    assert found[KEY]["r1"].durations["latency"] == truth(made, "r1", "latency")
    # A scrape of one endpoint does not drop what is kept of the others.
    asyncio.run(read_of(histograms, Scope(*other), {other: {"r1": NOW_S}}, progress))
    reader = histograms._reader
    reader.asked.clear()
    asyncio.run(read_of(histograms, Scope(*KEY), {KEY: {"r1": BEGIN_S}}, progress))
    assert reader.asked == {"request_windows": 1}


def test_a_merge_in_the_background_changes_nothing(filled, made):
    """Rows that replace each other are merged at any time."""
    asyncio.run(roll_up(ClientExecutor(filled)))
    filled.command(
        "INSERT INTO request_minutes SELECT * FROM request_minutes FINAL WHERE replica_id = ''"
    )  # each row twice
    reader = CountingReader(filled)
    histograms, progress = HistogramReader(reader, 10), settled(filled)
    first = read(histograms, progress)
    filled.command("OPTIMIZE TABLE request_minutes FINAL")
    reader.asked.clear()
    assert read(histograms, progress) == first
    assert reader.asked == {"request_windows": 1}


def test_one_that_is_late_does_not_make_the_others_expensive():
    groups = by_lateness(
        {Key("a", name): {} for name in ("fresh", "late", "later", "very-late", "hours")},
        {
            Key("a", "late"): {"10S": 9_900},
            Key("a", "later"): {"10S": 9_800},
            Key("a", "very-late"): {"10S": 7_000},
            Key("a", "hours"): {"1MIN": 5_000},
        },
        10_000,
    )
    assert {tuple(key.endpoint for key in keys): oldest for oldest, keys in groups} == {
        ("fresh",): (0, 0), ("late", "later"): (9_800, 0), ("very-late",): (7_000, 0), ("hours",): (0, 5_000),
    }  # fmt: skip


def test_scrapes_of_one_and_of_all_may_run_at_once(filled, made):
    histograms, progress = HistogramReader(SlowReader(filled), 10), settled(filled)
    shown = {KEY: {"r1": BEGIN_S}}

    async def both():
        return await asyncio.gather(
            *(
                read_of(histograms, scope, shown, progress)
                for scope in (Scope(*KEY), Scope("acme"), EVERYTHING)
            )
        )

    for _ in range(2):
        for found in asyncio.run(both()):
            assert found[KEY]["r1"].durations["latency"] == truth(made, "r1", "latency")


def test_a_late_row_counts_as_soon_as_it_is_rolled_up(filled, made):
    histograms = HistogramReader(CountingReader(filled), 10)
    before = read(histograms, progress_of(filled))["r2"].durations["latency"].total
    late = make_requests([("r2", "late")], BEGIN_S + 600, BEGIN_S + 660, 1, random.Random(5))
    rows = [{**row, "chunk": 90_000 + number} for number, row in enumerate(window_rows(late, [], chunks=1))]
    insert(filled, "request_windows", rows)
    asyncio.run(roll_up(ClientExecutor(filled)))
    found = read(histograms, progress_of(filled))["r2"].durations["latency"]
    assert found.total == before + len(late)
    made.extend(late)
    assert found == truth(made, "r2", "latency")


@pytest.mark.parametrize("late_s", [200, 600, 3_000])
def test_a_row_that_is_somewhat_late_counts_at_once_and_never_vanishes(filled, made, late_s):
    """Its minute is rolled up already, without it: until that is done again, windows are read."""
    at_s = (int(datetime.now(UTC).timestamp()) - late_s) // 10 * 10
    late = make_requests([("r1", f"late-{late_s}")], at_s, at_s + 20, 5, random.Random(6))
    rows = window_rows(late, [], chunks=1)
    insert(filled, "request_windows", [{**row, "chunk": 95_000 + late_s} for row in rows])
    made.extend(late)
    expected = truth(made, "r1", "latency")
    for _ in range(2):
        assert (
            read(HistogramReader(CountingReader(filled), 10), progress_of(filled))["r1"].durations["latency"]
            == expected
        )
        asyncio.run(roll_up(ClientExecutor(filled)))


def test_they_are_unknown_while_too_much_is_not_rolled_up():
    at_s = 400 * DAY_S
    behind = RollupProgress(Retention(), at_s - FURTHEST_BEHIND_S - 1, at_s - FURTHEST_BEHIND_S - 1)
    assert boundaries(at_s, behind) is None
    assert boundaries(at_s, RollupProgress(Retention(), 0, 0)) is None


@pytest.mark.parametrize("days", [4, 5, 30, 400])
def test_the_start_is_always_within_what_is_kept(days):
    starts = set()
    step = min(days // 2, 28)
    for now_s in range(20_000 * DAY_S, (20_000 + 4 * step) * DAY_S, DAY_S // 2):
        limits = boundaries(now_s, RollupProgress(Retention(4, 4, days), now_s, now_s))
        assert limits is not None
        assert list(limits) == sorted(limits)
        assert 0 <= now_s - limits.start_s <= (step + 1) * DAY_S
        starts.add(limits.start_s)
        parts = pieces(limits)
        assert sum(part.to_s - part.from_s for part in parts) == limits.minutes_to_s - limits.start_s
        assert all(one.to_s == next_one.from_s for one, next_one in pairwise(parts))
    assert 4 <= len(starts) <= 5


def test_it_restarts_at_0():
    step_s = 28 * DAY_S
    limits = boundaries(100 * step_s, RollupProgress(Retention(), 100 * step_s, 100 * step_s))
    assert set(limits) == {100 * step_s}  # nothing from before is read


def test_merging_adds_up():
    assert merge([]) == NO_DURATIONS
    parts = [durations_of((1, 5), (2, 3), 40), NO_DURATIONS, durations_of((5, 0, 5), (0, 1, 1), 5)]
    assert merge(parts) == durations_of((0, 1, 5), (1, 2, 4), 45)
    assert merge(parts[:2]) == parts[0]
    assert merge(parts[2:]) == durations_of((0, 5), (1, 1), 5)
    assert merge(parts).total == 7
