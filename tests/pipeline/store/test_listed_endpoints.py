"""Endpoints that have left: not among the others, still at their own URL."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.store.reading import metrics_of
from tests.pipeline.store.rows import boot, event, insert, progress, setting

from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.endpoint_metrics import (
    MetricsSettings,
    read_endpoint_metrics,
)
from endpoint_analytics.pipeline.store.listed_endpoints import read_listed
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import read_progress
from endpoint_analytics.pipeline.store.scope import EVERYTHING, Key, Scope

NOW = datetime.now(UTC)
DAY_S = 86_400.0
WEEK_S = 7 * DAY_S


@pytest.fixture(scope="module", autouse=True)
def _rows(config):
    client = connect(config)
    for namespace in ("acme", "other"):
        of = {"namespace": namespace}
        insert(
            client,
            "boot_states",
            [
                boot(NOW, endpoint="live", age_s=2, **of),
                boot(NOW, endpoint="weekend", age_s=3 * DAY_S, **of),
                boot(NOW, endpoint="left", age_s=WEEK_S + 60, **of),
                boot(NOW, endpoint="left-and-back", boot_id="old", age_s=100 * DAY_S, **of),
                boot(NOW, endpoint="left-and-back", boot_id="new", age_s=2, **of),
            ],
        )
        states = [("waits", 6 * DAY_S), ("left-waiting", WEEK_S + 60)]
        insert(
            client,
            "replica_events",
            [{**event(NOW, "pending", endpoint=endpoint, age_s=age_s), **of} for endpoint, age_s in states],
        )
        insert(client, "endpoint_settings", [{**setting(NOW, 0, 3), "endpoint": "set", **of}])
    client.close()


EXPECTED = {"live", "weekend", "left-and-back", "waits", "set"}


def listed(client, scope, now=NOW):
    async def read():
        reader = ClientExecutor(client)
        return await read_listed(reader, scope, await read_progress(reader), Presence(), now)

    return asyncio.run(read())


def test_who_is_silent_for_a_week_has_left(client):
    assert listed(client, Scope("acme")) == sorted(Key("acme", name) for name in EXPECTED)
    assert len(listed(client, EVERYTHING)) == 2 * len(EXPECTED)
    assert listed(client, Scope("nobody")) == []


def test_the_figures_of_many_are_those_that_have_not_left(client):
    reader, settings = ClientExecutor(client), MetricsSettings()
    found = metrics_of(reader, Scope("acme"), NOW)
    assert {key.endpoint for key in found} == EXPECTED
    assert metrics_of(reader, Scope("nobody"), NOW) == {}
    for name in EXPECTED:
        alone = asyncio.run(read_endpoint_metrics(reader, "acme", name, NOW, settings))
        assert repr(found[Key("acme", name)]) == repr(alone)  # NaN is not equal to itself
    for name in ("left", "left-waiting"):
        assert asyncio.run(read_endpoint_metrics(reader, "acme", name, NOW, settings)) is not None


def test_nobody_leaves_while_the_pipeline_stands_still(client):
    later = NOW + timedelta(days=30)
    client.command("TRUNCATE TABLE partition_progress")
    insert(client, "partition_progress", progress(NOW))
    assert {key.endpoint for key in listed(client, Scope("acme"), later)} == EXPECTED
    insert(client, "partition_progress", progress(later))
    assert listed(client, Scope("acme"), later) == []


def test_nobody_leaves_who_is_heard_through_a_partition_that_stands_still(client):
    """Such as one that is paused for its messages: what came through the others counts for the others alone."""
    later = NOW + timedelta(days=30)
    client.command("TRUNCATE TABLE partition_progress")
    insert(client, "boot_states", [boot(NOW, endpoint="behind", age_s=2, partition=3)])
    insert(client, "boot_states", [boot(NOW, endpoint="left-behind", age_s=WEEK_S + 60, partition=3)])
    insert(client, "partition_progress", [*progress(later), *progress(NOW, partition=3)])
    assert listed(client, Scope("acme"), later) == [Key("acme", "behind")]
    insert(client, "partition_progress", progress(later, partition=3))
    assert listed(client, Scope("acme"), later) == []


def test_a_partition_of_long_ago_keeps_nobody_who_was_heard_through_another(client):
    """Such as one of a topic that was made again with fewer partitions: its progress stays."""
    later = NOW + timedelta(days=30)
    client.command("TRUNCATE TABLE partition_progress")
    insert(client, "boot_states", [boot(NOW, endpoint="of-long-ago", age_s=2, partition=5)])
    late = progress(later - timedelta(seconds=30), streams=["requests"])
    insert(client, "partition_progress", [*progress(later)[1:], *late, *progress(NOW, partition=5)])
    assert listed(client, Scope("acme"), later) == [Key("acme", "of-long-ago")]
    gone = NOW + timedelta(days=91)
    insert(client, "partition_progress", progress(gone))
    assert listed(client, Scope("acme"), gone) == []
