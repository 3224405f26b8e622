"""Batches that are in no figure, and when they arrived, even if the states of their boot are gone."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.pipeline.store.rows import boot, insert, text

from endpoint_analytics.pipeline.store.conflicts import BatchConflict, read_conflicts

NOW = datetime.now(UTC).replace(microsecond=0)
NOW_S = NOW.timestamp()
DAY_S = 86_400


class Reader:
    def __init__(self, client):
        self._client = client

    async def read(self, sql, parameters):
        return self._client.query(sql, parameters=dict(parameters)).result_rows


def state(endpoint, ago_s, chunk, conflicts, *, first_ago_s, **columns):
    row = boot(
        NOW, endpoint=endpoint, age_s=ago_s, chunk=chunk, version=chunk, conflicts=conflicts, **columns
    )
    return row | {"first_at": text(NOW - timedelta(seconds=first_ago_s))}


@pytest.fixture
def conflicts(client):
    def read(endpoint, *, replica="", from_s=NOW_S - 30 * DAY_S, to_s=NOW_S):
        return asyncio.run(read_conflicts(Reader(client), "acme", endpoint, replica, from_s, to_s))

    return read


def age(client):
    """Make ClickHouse delete rows past their TTL."""
    client.command("OPTIMIZE TABLE boot_states FINAL")


def test_they_came_between_one_state_and_the_next(client, conflicts):
    reported = ((500, 10, 0), (400, 20, 3), (300, 30, 3), (200, 40, 5))
    insert(client, "boot_states", [state("new", *each, first_ago_s=600) for each in reported])
    expected = [
        BatchConflict("r1", "requests", NOW_S - 500, NOW_S - 400, 3),
        BatchConflict("r1", "requests", NOW_S - 300, NOW_S - 200, 2),
    ]
    assert conflicts("new") == expected
    assert conflicts("new", from_s=NOW_S - 290) == expected[1:]
    assert conflicts("new", replica="r2") == []


def test_they_stand_in_the_whole_life_of_a_boot_whose_states_are_gone(client, conflicts):
    reported = ((20 * DAY_S, 10, 2), (19 * DAY_S, 20, 7))
    insert(client, "boot_states", [state("old", *each, first_ago_s=21 * DAY_S) for each in reported])
    age(client)
    assert client.query("SELECT count() FROM boot_states WHERE endpoint = 'old'").result_rows == [(0,)]
    assert conflicts("old") == [BatchConflict("r1", "requests", NOW_S - 21 * DAY_S, NOW_S - 19 * DAY_S, 7)]
    assert conflicts("old", from_s=NOW_S - 18 * DAY_S) == []
    assert conflicts("old", to_s=NOW_S - 22 * DAY_S) == []


def test_they_came_before_the_first_state_that_is_kept(client, conflicts):
    reported = ((20 * DAY_S, 10, 2), (3 * DAY_S, 20, 7), (2 * DAY_S, 30, 8), (DAY_S, 40, 8))
    insert(client, "boot_states", [state("half", *each, first_ago_s=21 * DAY_S) for each in reported])
    age(client)
    assert conflicts("half") == [
        BatchConflict("r1", "requests", NOW_S - 21 * DAY_S, NOW_S - 3 * DAY_S, 7),
        BatchConflict("r1", "requests", NOW_S - 3 * DAY_S, NOW_S - 2 * DAY_S, 1),
    ]


def test_each_partition_counts_for_itself(client, conflicts):
    """As after adding partitions to the topic: a boot's messages arrive through one, and then through another."""
    reported = [
        state("two", 500, 10, 4, first_ago_s=600),
        state("two", 300, 10, 1, first_ago_s=400, partition=1),
    ]
    insert(client, "boot_states", reported)
    assert [each.batches for each in conflicts("two")] == [4, 1]
