"""How much was lost, and when."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.store.rows import boot, insert, text

from endpoint_analytics.pipeline.store.loss_counts import LossCounts, count_losses
from endpoint_analytics.pipeline.store.losses import LostRequests, read_losses

NOW = datetime.now(UTC).replace(microsecond=0)
NOW_S = NOW.timestamp()


def state(endpoint, ago_s, chunk, *, arrived, agent, missing=0, batches=None, **columns):
    batches = batches or {}
    row = boot(
        NOW,
        endpoint=endpoint,
        age_s=ago_s,
        chunk=chunk,
        version=chunk,
        arrived=arrived,
        agent_arrived=agent,
        missing=missing,
        **columns,
    )
    lists = {"dropped_batch_reasons": list(batches), "dropped_batch_counts": list(batches.values())}
    return row | lists | {"first_at": text(NOW - timedelta(seconds=600))}


@pytest.fixture
def losses(client):
    def read(endpoint, *, replica="", from_s=NOW_S - 900, to_s=NOW_S):
        return asyncio.run(read_losses(ClientExecutor(client), "acme", endpoint, replica, from_s, to_s))

    return read


def test_a_gap_lies_between_what_was_told_before_and_after(client, losses):
    insert(
        client,
        "boot_states",
        [
            state("gap", 500, 10, arrived=100, agent=100),
            state("gap", 490, 20, arrived=200, agent=200),
            state("gap", 190, 30, arrived=250, agent=4850, missing=300, batches={"spool_full": 300}),
            state("gap", 180, 40, arrived=350, agent=4950, missing=300, batches={"spool_full": 300}),
        ],
    )
    expected = LostRequests("r1", NOW_S - 490, NOW_S - 190, 4600, 300, {"spool_full": 4600})
    assert losses("gap") == [expected]
    assert losses("gap", from_s=NOW_S - 300) == [expected]
    assert losses("gap", from_s=NOW_S - 100) == []
    assert losses("gap", to_s=NOW_S - 495) == []
    assert losses("gap", replica="r2") == []


def test_what_comes_late_after_all_is_not_lost(client, losses):
    insert(
        client,
        "boot_states",
        [
            state("late", 500, 10, arrived=100, agent=100),
            state("late", 400, 20, arrived=150, agent=250, missing=10),
            state("late", 300, 30, arrived=300, agent=420, missing=12),
            state("late", 200, 40, arrived=500, agent=560, missing=6),
        ],
    )
    assert losses("late") == [LostRequests("r1", NOW_S - 500, NOW_S - 400, 60, 6, {"missing": 60})]


def test_requests_that_were_not_recorded_have_their_reasons(client, losses):
    insert(
        client,
        "boot_states",
        [
            state("full", 500, 10, arrived=100, agent=100),
            state("full", 400, 20, arrived=200, agent=200, dropped={"buffer_full": 7}),
            state("full", 300, 30, arrived=300, agent=300, dropped={"buffer_full": 7, "clock": 2}),
        ],
    )
    assert losses("full") == [
        LostRequests("r1", NOW_S - 500, NOW_S - 400, 7, 0, {"buffer_full": 7}),
        LostRequests("r1", NOW_S - 400, NOW_S - 300, 2, 0, {"clock": 2}),
    ]


def test_what_is_older_than_the_states_lies_in_the_whole_life(client, losses):
    insert(client, "boots", [state("old", 100, 10, arrived=1, agent=11, missing=2)])
    assert losses("old") == [LostRequests("r1", NOW_S - 600, NOW_S - 100, 10, 2, {"missing": 10})]


def test_a_boot_in_two_partitions_lost_in_each_what_each_says(client, losses):
    """Its replica moved when partitions were added; their offsets have nothing to do with each other."""
    insert(
        client,
        "boot_states",
        [
            state("moved", 500, 1000, arrived=100, agent=100),
            state("moved", 400, 1010, arrived=200, agent=230, missing=3),
            state("moved", 300, 5, arrived=50, agent=50, partition=9),
            state("moved", 200, 15, arrived=60, agent=67, missing=1, partition=9),
        ],
    )
    assert losses("moved") == [
        LostRequests("r1", NOW_S - 500, NOW_S - 400, 30, 3, {"missing": 30}),
        LostRequests("r1", NOW_S - 300, NOW_S - 200, 7, 1, {"missing": 7}),
    ]


@pytest.mark.parametrize(
    ("given", "lost"),
    [
        (({}, {}, 0, 5), LossCounts({}, 0)),  # on its way
        (({"clock": 1}, {}, 0, 0), LossCounts({"clock": 1}, 0)),
        (({}, {}, 2, 9), LossCounts({"missing": 9}, 2)),
        (({"spool_full": 1}, {"spool_full": 2}, 2, 9), LossCounts({"spool_full": 10}, 2)),
        (({}, {"spool_full": 2, "too_large": 1}, 3, 9), LossCounts({"several": 9}, 3)),
    ],
)
def test_reasons(given, lost):
    assert count_losses(*given) == lost
