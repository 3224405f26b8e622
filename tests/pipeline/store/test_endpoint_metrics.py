"""The queries on rows as the worker writes them: versions, chunks, replays, several boots."""

import asyncio
import math
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.pipeline.store.rows import boot, event, hardware, insert, setting, text, window

from endpoint_analytics.pipeline.core.sketch import value_of
from endpoint_analytics.pipeline.store.connect import connect_async
from endpoint_analytics.pipeline.store.endpoint_metrics import MetricsSettings, read_endpoint_metrics
from endpoint_analytics.pipeline.store.endpoint_numbers import NewestSample
from endpoint_analytics.pipeline.store.read_model import RequestLevels

NOW = datetime.now(UTC).replace(second=5, microsecond=0)
"""Near the present, since tables drop what is old; in the middle of a window."""


class PlainReader:
    def __init__(self, client):
        self._client = client

    async def read(self, sql, parameters):
        return (await self._client.query(sql, parameters=parameters)).result_rows


@pytest.fixture
def endpoint():
    return f"e-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def read(config, endpoint):
    def run(now=NOW, namespace="acme", name=None):
        async def main():
            client = await connect_async(config)
            try:
                return await read_endpoint_metrics(
                    PlainReader(client), namespace, name or endpoint, now, MetricsSettings()
                )
            finally:
                await client.close()

        return asyncio.run(main())

    return run


@pytest.fixture
def put(client, endpoint):
    """Insert rows of this test's endpoint; boots are inserted through boot_states, as by the worker."""

    def run(table, *rows):
        insert(client, table, [{**row, "endpoint": endpoint} for row in rows])

    return run


def replica(metrics, replica_id="r1"):
    return next(each for each in metrics.replicas if each.replica_id == replica_id)


def test_nothing_was_heard_of_an_unknown_endpoint(read):
    assert read() is None


def test_an_endpoint_of_another_namespace_is_unknown(read, put):
    put("boot_states", boot(NOW))
    assert read(namespace="acme") is not None
    assert read(namespace="other") is None


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("boot_states", boot(NOW, age_s=10**6)),
        ("replica_events", event(NOW, "terminated", age_s=10**6)),
        ("endpoint_settings", setting(NOW, 1, 2)),
    ],
)
def test_an_endpoint_exists_by_any_row_however_old(read, put, table, row):
    put(table, row)
    metrics = read()
    assert metrics is not None
    assert metrics.replicas == ()


def test_statuses_are_summed_over_boots_and_the_newest_version_counts(read, put):
    put("boot_states", boot(NOW, version=5, status={200: 5, 500: 1}))
    put("boot_states", boot(NOW, version=9, status={200: 9, 500: 1}))
    put("boot_states", boot(NOW, version=5, status={200: 5, 500: 1}))  # a replay
    put("boot_states", boot(NOW, boot_id="b0", age_s=900, version=3, status={200: 100, 404: 7}))
    assert replica(read()).requests.status_counts == ((200, 109), (404, 7), (500, 1))


def test_hardware_boots_do_not_count_as_requests(read, put):
    put("boot_states", boot(NOW, stream="hardware", finished=99, status={200: 99}))
    metrics = read()
    assert replica(metrics).requests is None
    assert replica(metrics).state == "running"
    assert metrics.latency.count == 0


def test_aborted_and_dropped_by_reason(read, put):
    put("boot_states", boot(NOW, aborted_pending=3, aborted_streaming=2, dropped={"buffer_full": 4}))
    put("boot_states", boot(NOW, boot_id="b0", aborted_pending=1, dropped={"buffer_full": 1, "clock": 2}))
    requests = replica(read()).requests
    assert (requests.aborted_pending, requests.aborted_streaming) == (4, 2)
    assert requests.dropped == (("buffer_full", 5), ("clock", 2))


def test_a_dead_boot_takes_its_levels_with_it(read, put):
    put("boot_states", boot(NOW, pending=2, streaming=1, oldest_pending_us=1_500_000))
    put("boot_states", boot(NOW, boot_id="b0", age_s=11, pending=50, streaming=9, oldest_pending_us=9**9))
    requests = replica(read()).requests
    assert requests.levels == RequestLevels(2, 1, 1_500_000)
    later = replica(read(NOW + timedelta(seconds=12))).requests
    assert later.levels == RequestLevels(0, 0, 0)


def test_the_processes_of_a_replica_are_added(read, put):
    put("boot_states", boot(NOW, boot_id="b1", pending=2, streaming=1), boot(NOW, boot_id="b2", pending=3))
    requests = replica(read()).requests
    assert (requests.levels.pending, requests.levels.streaming) == (5, 1)


def test_a_departed_replica_leaves_its_place_and_keeps_its_share_of_the_summaries(read, put):
    put(
        "boot_states",
        boot(NOW, replica="gone", age_s=301, finished=10, latency_sum_us=7, ttfb_count=11, ttfb_sum_us=3),
        boot(NOW, replica="here", finished=5, latency_sum_us=1, ttfb_count=5, ttfb_sum_us=1),
    )
    metrics = read()
    assert [each.replica_id for each in metrics.replicas] == ["here"]
    assert (metrics.latency.count, metrics.latency.sum_us) == (15, 8)
    assert (metrics.time_to_first_byte.count, metrics.time_to_first_byte.sum_us) == (16, 4)


def test_a_replica_that_waits_again_keeps_its_counters(read, put):
    put("boot_states", boot(NOW, age_s=4000, status={200: 3}))
    put("replica_events", event(NOW, "pulling", age_s=3000))
    one = replica(read())
    assert one.state == "pulling"
    assert one.requests.status_counts == ((200, 3),)


def test_quantiles_are_merged_over_replicas_chunks_and_windows(read, put):
    put("boot_states", boot(NOW))
    put("request_windows", window(NOW, version=1, latency={100: 1}, ttfb={0: 1}))
    put("request_windows", window(NOW, version=2, latency={100: 90}, ttfb={0: 100}))
    put("request_windows", window(NOW, chunk=7, latency={200: 5}))
    put("request_windows", window(NOW, replica="r2", age_s=100, latency={200: 4, 300: 1}))
    put("request_windows", window(NOW, age_s=320, latency={500: 10**6}))  # before the five minutes
    metrics = read()
    found = dict(metrics.latency.quantiles_s)
    assert found[0.5] == pytest.approx(value_of(100) / 1e6)
    assert found[0.9] == pytest.approx(value_of(100) / 1e6)
    assert found[0.95] == pytest.approx(value_of(200) / 1e6)
    assert found[0.99] == pytest.approx(value_of(200) / 1e6)
    assert set(dict(metrics.time_to_first_byte.quantiles_s).values()) == {0.0}


def test_quantiles_without_events_are_nan(read, put):
    put("boot_states", boot(NOW, finished=3, latency_sum_us=9))
    latency = read().latency
    assert all(math.isnan(seconds) for _, seconds in latency.quantiles_s)
    assert (latency.count, latency.sum_us) == (3, 9)


def test_the_newest_sample_of_each_metric_and_device(read, put):
    put("boot_states", boot(NOW, stream="hardware"))
    put(
        "hardware_windows",
        hardware(NOW, "cpu_percent", 50, age_s=2),
        hardware(NOW, "cpu_percent", 60, age_s=1),
        hardware(NOW, "gpu_percent", 7, device="gpu1"),
        hardware(NOW, "gpu_percent", 5, device="gpu0"),
        hardware(NOW, "network_sent_bytes", 1),
        hardware(NOW, "memory_used_bytes", 1, age_s=15),  # the agent no longer reports it
    )
    assert replica(read()).hardware == (
        NewestSample("cpu_percent", "", 60),
        NewestSample("gpu_percent", "gpu0", 5),
        NewestSample("gpu_percent", "gpu1", 7),
    )


def test_the_newest_sample_of_each_metric_of_the_engine(read, put):
    put("boot_states", boot(NOW, stream="engine"), boot(NOW, stream="hardware", boot_id="b2"))
    put(
        "engine_windows",
        hardware(NOW, "engine_waiting_requests", 5, age_s=2),
        hardware(NOW, "engine_waiting_requests", 6, age_s=1),
        hardware(NOW, "engine_of_its_own", 7),
        hardware(NOW, "engine_kv_cache_percent", 1, age_s=15),  # the agent no longer reports it
    )
    found = replica(read())
    assert found.engine == (
        NewestSample("engine_of_its_own", "", 7),
        NewestSample("engine_waiting_requests", "", 6),
    )
    assert (found.hardware, found.state) == ((), "running")


def test_an_engine_that_is_away_has_no_figures_while_the_replica_lives(read, put):
    put("boot_states", boot(NOW, stream="engine", age_s=12), boot(NOW))
    put("engine_windows", hardware(NOW, "engine_waiting_requests", 5, age_s=12))
    assert (replica(read()).engine, replica(read()).state) == ((), "running")


def test_a_silent_agent_has_no_hardware(read, put):
    put("boot_states", boot(NOW, stream="hardware"))
    put("hardware_windows", hardware(NOW, "cpu_percent", 50))
    assert replica(read(NOW + timedelta(seconds=12))).hardware == ()


def test_a_clock_that_is_behind_does_not_hide_hardware(read, put):
    behind = NOW - timedelta(seconds=65)
    put("boot_states", {**boot(NOW, stream="hardware"), "last_at": text(behind)})
    put("hardware_windows", hardware(NOW, "cpu_percent", 50, age_s=65))
    assert replica(read()).hardware == (NewestSample("cpu_percent", "", 50),)


def test_the_last_event_says_the_state_and_running_replicas_are_counted(read, put):
    put("boot_states", boot(NOW), boot(NOW, replica="r2"), boot(NOW, replica="r3", age_s=30))
    put(
        "replica_events",
        event(NOW, "initializing", age_s=90),
        event(NOW, "running", age_s=80),
        event(NOW, "draining", replica="r2", age_s=5),
        event(NOW, "running", replica="r3", age_s=80),
        event(NOW, "downloading", replica="r4", age_s=1000),
    )
    metrics = read()
    states = {each.replica_id: each.state for each in metrics.replicas}
    assert states == {"r1": "running", "r2": "draining", "r3": "failed", "r4": "downloading"}
    assert metrics.running_replicas == 1


def test_events_of_one_moment_go_by_offset(read, put):
    put("replica_events", event(NOW, "running", offset=7), event(NOW, "pulling", offset=8))
    assert replica(read()).state == "pulling"


def test_a_long_quiet_state_is_known_while_the_agent_speaks(read, put):
    put("boot_states", boot(NOW))
    put("replica_events", event(NOW, "draining", age_s=200_000))
    assert replica(read()).state == "draining"


def test_unassigned_requests_are_no_replica(read, put):
    put("boot_states", boot(NOW, replica="unassigned", pending=4))
    metrics = read()
    assert metrics.running_replicas == 0
    assert replica(metrics, "unassigned").state is None
    assert replica(metrics, "unassigned").requests.levels.pending == 4


def test_the_settings_in_force(read, put):
    put("endpoint_settings", setting(NOW, 0, 3, age_s=60), setting(NOW, 1, 4, age_s=30))
    put("endpoint_settings", setting(NOW, 2, 9, age_s=-30))
    metrics = read()
    assert (metrics.min_replicas, metrics.max_replicas) == (1, 4)


def test_settings_that_were_never_told_are_none(read, put):
    put("boot_states", boot(NOW))
    metrics = read()
    assert (metrics.min_replicas, metrics.max_replicas) == (None, None)


def test_data_is_as_fresh_as_the_newest_interval(read, put):
    put("boot_states", boot(NOW, age_s=3), boot(NOW, replica="r2", age_s=2, stream="hardware"))
    assert read().data_at == NOW - timedelta(seconds=2)


Rows = st.lists(
    st.tuples(st.sampled_from(["b1", "b2"]), st.integers(1, 4), st.integers(0, 5)), min_size=1, max_size=6
)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=Rows, order=st.randoms())
def test_replays_in_any_order_change_nothing_and_counters_never_go_down(client, config, rows, order):
    """A boot's state at version v is the same, whichever worker writes it; the newest version wins."""
    name = f"e-{uuid.uuid4().hex[:8]}"
    written = [(boot_id, version) for boot_id, version, _ in rows] * 2
    order.shuffle(written)

    async def main():
        reader = PlainReader(await connect_async(config))
        seen = []
        for boot_id, version in written:
            row = boot(NOW, boot_id=boot_id, version=version, endpoint=name, status={200: 10 * version})
            insert(client, "boot_states", [row])
            metrics = await read_endpoint_metrics(reader, "acme", name, NOW, MetricsSettings())
            seen.append(replica(metrics).requests.status_counts[0][1])
        await reader._client.close()
        return seen

    seen = asyncio.run(main())
    newest = {boot_id: max(v for b, v in written if b == boot_id) for boot_id, _ in written}
    assert seen[-1] == sum(10 * version for version in newest.values())
    assert all(before <= after for before, after in pairwise(seen))
