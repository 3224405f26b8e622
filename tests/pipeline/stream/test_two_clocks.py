"""No single clock is trusted: a worker with a fast clock reports nothing in the future, and a stuck one is noticed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import pytest
from clickhouse_connect.driver.exceptions import OperationalError
from tests.integration.replica import Replica
from tests.support.parts import Child, Stack
from tests.support.waiting import eventually

from endpoint_analytics.pipeline.stream import two_clocks
from endpoint_analytics.pipeline.stream.partition_progress import Stored, WorkerProgress
from endpoint_analytics.pipeline.stream.two_clocks import TwoClocks

T = 1_800_000_000_000
HOUR_MS = 3_600_000


class Machine:
    """A machine's clocks, and a ClickHouse whose response takes a second to arrive."""

    def __init__(self, wall_ahead_ms: int = 0) -> None:
        self.true_ms, self.wall_ahead_ms, self.clickhouse_ahead_ms = T, wall_ahead_ms, 0
        self.is_down, self.way_ms = False, 1_000
        self.clocks = TwoClocks(
            self._answer, lambda: self.true_ms + self.wall_ahead_ms, lambda: self.true_ms - T + 77
        )

    async def _answer(self) -> int:
        if self.is_down:
            raise OperationalError("down")
        said_ms = self.true_ms + self.clickhouse_ahead_ms
        self.true_ms += self.way_ms
        return said_ms

    def ahead_ms(self) -> int | None:
        """How far our idea of now is ahead of the true time."""
        now = self.clocks.now()
        return None if now is None else now.earliest_ms - self.true_ms


def test_nothing_is_known_until_clickhouse_has_spoken() -> None:
    machine = Machine()
    assert machine.ahead_ms() is None
    machine.is_down = True
    with pytest.raises(OperationalError):
        asyncio.run(machine.clocks.query())
    assert machine.ahead_ms() is None


@pytest.mark.parametrize("local_ms", [0, HOUR_MS, -HOUR_MS])
@pytest.mark.parametrize("server_ms", [0, HOUR_MS, -HOUR_MS])
def test_the_earlier_clock_counts(local_ms: int, server_ms: int) -> None:
    machine = Machine(local_ms)
    machine.clickhouse_ahead_ms = server_ms
    asyncio.run(machine.clocks.query())
    assert machine.ahead_ms() == min(
        local_ms, server_ms - 1_000
    )  # the answer's way makes it earlier, never later
    machine.true_ms += 50_000
    assert machine.ahead_ms() == min(local_ms, server_ms - 1_000)
    assert machine.clocks.now().latest_ms - machine.true_ms == max(local_ms, server_ms - 1_000)


def test_a_clock_that_is_set_ahead_is_not_followed() -> None:
    machine = Machine()
    asyncio.run(machine.clocks.query())
    machine.wall_ahead_ms = HOUR_MS
    assert machine.ahead_ms() == -1_000


def test_a_slow_answer_does_not_put_back_what_is_known() -> None:
    machine = Machine()
    for way_ms, behind_ms in ((8_000, 8_000), (20, 20), (30_000, 20), (5, 5), (700, 5)):
        machine.way_ms = way_ms
        asyncio.run(machine.clocks.query())
        assert machine.ahead_ms() == -behind_ms


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])
def test_a_clock_that_was_set_is_followed_however_slow_the_answer(by_ms: int) -> None:
    machine = Machine(2 * HOUR_MS)
    asyncio.run(machine.clocks.query())
    machine.clickhouse_ahead_ms, machine.way_ms = by_ms, 30_000
    asyncio.run(machine.clocks.query())
    assert machine.ahead_ms() == by_ms - 30_000


@pytest.mark.parametrize("wrong_ms", [HOUR_MS, -HOUR_MS])
@pytest.mark.parametrize("which", ["wall_ahead_ms", "clickhouse_ahead_ms"])
@pytest.mark.parametrize("is_mended", [False, True])
def test_with_the_brokers_stamps_one_clock_that_is_wrong_does_no_harm(which, wrong_ms, is_mended) -> None:
    machine, progress = Machine(), WorkerProgress()
    setattr(machine, which, wrong_ms)
    asyncio.run(machine.clocks.query())
    progress.observe_ends(machine.clocks.now(), [("requests", 0, 5)])
    machine.true_ms += 1_000
    progress.advance(machine.clocks.now(), [("requests", 0, Stored(6, machine.true_ms - 500))])
    if is_mended:
        setattr(machine, which, 0)
        asyncio.run(machine.clocks.query())
    machine.true_ms += 30_000
    looked_ms = machine.true_ms
    progress.observe_ends(machine.clocks.now(), [("requests", 0, 6)])
    machine.true_ms += 500
    [row] = progress.advance(machine.clocks.now(), [("requests", 0, Stored(6, None))])
    behind_ms = looked_ms - round(float(row.values["read_to"]) * 1000)
    assert 0 <= behind_ms <= 2_000


def test_clocks_that_differ_are_said_once(caplog) -> None:
    caplog.set_level(logging.INFO, two_clocks.__name__)
    machine = Machine()
    for ahead_ms in (0, HOUR_MS, HOUR_MS, 0, 0, -HOUR_MS):
        machine.wall_ahead_ms = ahead_ms
        asyncio.run(machine.clocks.query())
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "this machine's clock is 3600 s ahead of ClickHouse's",
        "this machine's clock and ClickHouse's agree again",
        "this machine's clock is 3599 s behind ClickHouse's",
    ]


SHIFTED = """
import sys, time
wall, wall_ns, by_s = time.time, time.time_ns, int(sys.argv.pop(1))
time.time, time.time_ns = lambda: wall() + by_s, lambda: wall_ns() + by_s * 10**9
from endpoint_analytics.infra.command import main
sys.exit(main())
"""
"""A worker on a machine whose clock is wrong."""
LATE = """
SELECT count() AS partitions, max(read_to) <= now64(3), max(read_to) < now64(3) - INTERVAL 10 SECOND
FROM partition_progress FINAL
"""


def start_shifted(stack: Stack, seconds: int) -> Child:
    """Replace the stack's worker by one whose clock is this far ahead; earlier progress is deleted."""
    assert stack.worker.stop() == 0
    stack.client.command("TRUNCATE TABLE partition_progress")
    words = [sys.executable, "-c", SHIFTED, str(seconds), "worker", "--instance-id", "worker-1"]
    worker: Child = stack.program("shifted", words, "worker ready")
    worker.start()
    return worker


@pytest.mark.slow
@pytest.mark.whole
def test_a_worker_whose_clock_is_ahead_is_late_when_it_stands(tmp_path) -> None:
    """No message ever arrives, so only clocks show how far the log was read."""
    with Stack(tmp_path, partitions=2) as stack:
        worker = start_shifted(stack, 3600)

        def read() -> list[tuple[int, bool, bool]]:
            found = stack.rows(LATE)
            assert found[0][0] == 0 or found[0][1], "it was read to the future"
            return found

        eventually(read, lambda rows: rows == [(8, True, False)], 60, "it is current")
        assert "3600 s ahead of ClickHouse's" in worker.log.read_text()
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            eventually(read, lambda rows: rows == [(8, True, True)], 60, "it is late")
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        eventually(read, lambda rows: rows == [(8, True, False)], 60, "it is current")


@pytest.mark.whole
@pytest.mark.slow
def test_a_worker_whose_clock_is_behind_is_current_once_the_broker_has_spoken(tmp_path) -> None:
    with Stack(tmp_path, partitions=2) as stack:
        start_shifted(stack, -3600)
        Replica(stack, "llm", "behind-0").start()
        eventually(
            lambda: stack.samples("llm", "running_replicas"), lambda found: found == {(): 1.0}, 60, "it runs"
        )
        # Also of partitions that nobody sends to.
        current = "countIf(read_to BETWEEN now64(3) - INTERVAL 10 SECOND AND now64(3))"
        eventually(
            lambda: stack.rows(f"SELECT {current} FROM partition_progress FINAL"),
            lambda rows: rows == [(8,)],
            60,
            "all are current",
        )
