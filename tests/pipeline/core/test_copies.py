"""Two processes under one boot: each batch of each is counted once, in whatever order they arrive and are read."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.core.logs import START_US
from tests.pipeline.core.worker import Table, Worker

from endpoint_analytics.infra.fleet.config import FleetConfig
from endpoint_analytics.infra.fleet.replica import FleetReplica
from endpoint_analytics.infra.fleet.truth import FleetTruth
from endpoint_analytics.pipeline.core.boots import Boot, BootKey, Boots
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.copies import MAX_COPIES, process_of, since
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.requests import (
    Aborted,
    Arrived,
    Finished,
    Informational,
    RequestBatch,
    Responded,
    Totals,
)

SECOND_US = 1_000_000
RULE = ChunkRule(5_000, 1_000_000)


class Process:
    """An agent: each batch begins where the last ended and has some requests that arrive, respond and finish."""

    def __init__(self, seed: int, at_us: int = START_US) -> None:
        self.rng = random.Random(seed)
        self.at_us = at_us
        self.seq = 0
        self.total = 0
        self.wait_us = 0
        self.sent: list[RequestBatch] = []

    def copy(self, seed: int, at_us: int | None = None) -> Process:
        other = Process(seed, self.at_us if at_us is None else at_us)
        other.seq, other.total, other.wait_us = self.seq, self.total, self.wait_us
        return other

    def batch(self) -> RequestBatch:
        length_us = SECOND_US + self.rng.randrange(-3_000, 3_000)
        count = self.rng.randrange(4)
        at, wait = list(range(count)), [self.rng.randrange(1, 900) for _ in range(count)]
        self.total += count
        self.wait_us += sum(wait)
        status = {"200": self.total} if self.total else {}
        made = RequestBatch(
            namespace="acme", endpoint="llm", replica_id="r", boot_id="b", seq=self.seq,
            start_us=self.at_us, end_us=self.at_us + length_us, pending=0, streaming=0,
            arrived=Arrived(at), responded=Responded([n + 1000 for n in at], wait, [200] * count),
            finished=Finished([n + 2000 for n in at], wait, [200] * count),
            totals=Totals(arrived=self.total, finished=self.total, status=status, wait_us=self.wait_us,
                          duration_us=self.wait_us),
        )  # fmt: skip
        self.seq += 1
        self.at_us += length_us
        self.sent.append(made)
        return made


def log_of(batches: list[RequestBatch]) -> list[Record]:
    append_ms, records = START_US // 1000, []
    for offset, batch in enumerate(batches):
        append_ms = max(append_ms, batch.end_us // 1000)
        records.append(Record(offset, append_ms, encode(batch)))
    return records


def fold(records: list[Record], restarts: int = 0, seed: int = 0) -> Table:
    """Fold the log, with workers that restart at the start of the chunk at some position."""
    table, rng = Table(), random.Random(seed)
    begin = 0
    for _ in range(restarts):
        worker = Worker("requests", table, rule=RULE)
        worker.read(records[begin : rng.randrange(begin, len(records)) + 1])
        worker.flush()
        begin = worker.chunks[-1]
    worker = Worker("requests", table, rule=RULE)
    worker.read(records[begin:])
    worker.close()
    return table


def boots(table: Table) -> dict[str, dict[str, object]]:
    """Return the newest state of each boot."""
    newest: dict[str, dict[str, object]] = {}
    for values in table.final()["boot_states"].values():
        before = newest.get(str(values["boot_id"]))
        if before is None or (values["chunk"], values["version"]) > (before["chunk"], before["version"]):
            newest[str(values["boot_id"])] = values
    return newest


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 40), st.integers(0, 3), st.integers(2, 3))
def test_each_batch_of_each_process_is_counted_once(
    seed: int, before: int, behind: int, restarts: int, processes: int
) -> None:
    rng = random.Random(seed)
    first = Process(seed)
    sent = [first.batch() for _ in range(before)]
    copies = [first, *(first.copy(seed + n + 1) for n in range(processes - 1))]
    left = dict.fromkeys(range(processes), behind)
    again = 0
    while left:
        number = rng.choice(sorted(left))
        sent.append(copies[number].batch())
        left[number] -= 1
        left = {n: count for n, count in left.items() if count}
        if rng.random() < 0.1:
            sent.append(rng.choice(copies[number].sent[-5:]))
            again += 1
    table = fold(log_of(sent), restarts, seed)
    found = boots(table)
    assert sum(boot["batches"] for boot in found.values()) == len(sent) - again
    assert sum(boot["duplicates"] for boot in found.values()) == again
    assert sum(boot["missing"] for boot in found.values()) == 0
    events = sum(len(b.arrived.at_us) for process in copies for b in process.sent)
    assert sum(boot["arrived"] for boot in found.values()) == events
    assert sum(row["arrived"] for row in table.final()["request_windows"].values()) == events
    assert found["b"]["copies"] == processes - 1 == len(found) - 1
    # The processes are distinguished, so that the totals of each agree with what is counted of it.
    assert all(boot["arrived"] == boot["agent_arrived"] for boot in found.values())
    assert {boot["copy_of"] for name, boot in found.items() if name != "b"} == {"b"}


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 30), st.integers(0, 2), st.integers(2, 3))
def test_batches_of_copies_that_are_held_up_are_counted_once_too(
    seed: int, before: int, behind: int, restarts: int, processes: int
) -> None:
    """It may then be counted to another process, but it must be counted exactly once."""
    rng = random.Random(seed)
    first = Process(seed)
    early = [first.batch() for _ in range(before)]
    copies = [first, *(first.copy(seed + n + 1) for n in range(processes - 1))]
    sent = [copy.batch() for _ in range(behind) for copy in copies]
    place = {id(batch): number + rng.choice([0, 0, 0, rng.randrange(8)]) for number, batch in enumerate(sent)}
    sent.sort(key=lambda batch: place[id(batch)])
    table = fold(log_of(early + sent), restarts, seed)
    found = boots(table)
    events = sum(len(b.arrived.at_us) for b in early + sent)
    assert sum(row["arrived"] for row in table.final()["request_windows"].values()) == events
    assert sum(boot["batches"] for boot in found.values()) == len(early) + len(sent)
    assert sum(boot["duplicates"] + boot["missing"] for boot in found.values()) == 0


def test_a_copys_own_totals_leave_out_what_it_inherited() -> None:
    inherited = Totals(
        arrived=10, finished=6, aborted_pending=1, aborted_streaming=2, status={"103": 2, "200": 7, "404": 1},
        wait_us=900, duration_us=5_000, dropped={"recorder_full": 3}, dropped_batches={"spool_full": 1},
    )  # fmt: skip
    whole = Totals(
        arrived=12, finished=7, aborted_pending=2, aborted_streaming=3, status={"103": 3, "200": 8, "404": 2},
        wait_us=930, duration_us=5_050, dropped={"recorder_full": 3}, dropped_batches={"spool_full": 1},
    )  # fmt: skip
    own = Totals(
        arrived=2, finished=1, aborted_pending=1, aborted_streaming=1, status={"103": 1, "200": 1, "404": 1},
        wait_us=30, duration_us=50,
    )  # fmt: skip
    batch = RequestBatch(
        namespace="acme", endpoint="llm", replica_id="r", boot_id="b", seq=0, start_us=5, end_us=SECOND_US,
        pending=0, streaming=0, arrived=Arrived([1, 2]), informational=Informational([2], [103]),
        responded=Responded([3, 4], [10, 20], [200, 404]), finished=Finished([5], [50], [200]),
        aborted_pending=Aborted([6], [7]), aborted_streaming=Aborted([8], [9]), totals=whole,
    )  # fmt: skip
    known, boot = Boots(), Boot(BootKey("acme", "llm", "r", "b"))
    boot.accept(0, end_us=SECOND_US + 1)
    copy = process_of(known, boot, batch)
    assert copy is not None
    assert copy.inherited == inherited
    assert since(whole, copy.inherited) == own
    assert since(inherited, whole) == Totals()  # never less than nothing


def test_a_copy_that_comes_long_after_is_known_by_its_time() -> None:
    first = Process(1)
    early = [first.batch() for _ in range(5)]
    late = first.copy(2, at_us=first.at_us + 200 * SECOND_US)
    sent = early + [first.batch() for _ in range(200)] + [late.batch() for _ in range(50)]
    found = boots(fold(log_of(sent)))
    assert (found["b"]["batches"], found["b"]["duplicates"], found["b~2"]["batches"]) == (205, 0, 50)


def test_an_old_batch_that_is_sent_again_is_no_copy() -> None:
    first = Process(3)
    sent = [first.batch() for _ in range(100)]
    found = boots(fold(log_of(sent + sent[:60])))
    assert (found["b"]["batches"], found["b"]["duplicates"], found["b"]["copies"]) == (100, 60, 0)


def test_a_clock_that_steps_back_makes_no_copy_of_what_is_sent_again() -> None:
    first = Process(4)
    sent = [first.batch() for _ in range(30)]
    first.at_us -= 1000 * SECOND_US
    sent += [first.batch() for _ in range(30)]
    found = boots(fold(log_of(sent + sent[:20])))
    assert (found["b"]["batches"], found["b"]["duplicates"], found["b"]["copies"]) == (60, 20, 0)


def test_more_processes_than_are_told_apart_are_rejected_by_name() -> None:
    first = Process(5)
    sent = [first.batch()]
    copies = [first.copy(10 + n) for n in range(MAX_COPIES + 2)]
    sent += [first.batch(), *(copy.batch() for copy in copies)]
    table = fold(log_of(sent))
    found = boots(table)
    assert len(found) == MAX_COPIES + 1
    assert found["b"]["conflicts"] == 2
    assert [row["reason"] for row in table.final()["rejected"].values()] == ["boot_conflict"] * 2
    assert sum(boot["duplicates"] for boot in found.values()) == 0


@pytest.mark.parametrize("seed", [*range(60), 2586, 2932, 3764, 3887, 3919])
def test_a_fleet_that_is_copied_is_counted_exactly(seed: int) -> None:
    """Copies of copies, resent and delayed batches, restarts, and a sender that lags now and then."""
    rng = random.Random(seed)
    config = FleetConfig(
        replicas=1, endpoints=1, rate=4.0, duplicates=0.1, late=rng.choice([0.0, 0.1]), copies=0.03,
        restarts=rng.choice([0.0, 0.1]), overlap=rng.choice([0, 3]), seed=seed,
    )  # fmt: skip
    truth = FleetTruth()
    replica, now_us = FleetReplica(0, config, "m", "p", truth), START_US
    records: list[Record] = []

    def store(messages) -> None:
        for message in messages:
            records.append(Record(len(records), now_us // 1000, message.value))
            message.stored(0, records[-1].offset)

    for _ in range(60):
        interval_us = int(rng.choice([0.3, 0.3, 0.3, 0.35, 2.0, 5.0]) * SECOND_US)
        store(replica.step(now_us, now_us + interval_us))
        now_us += interval_us
    store(replica.rest())
    found = boots(fold(records, restarts=3, seed=seed))
    if any(boot["conflicts"] for boot in found.values()):
        pytest.skip("more processes than are told apart")
    counted: Counter[str] = Counter()
    for name, boot in found.items():
        counted[name.split("~")[0]] += boot["batches"]
    assert counted == {name.boot_id: each.batches for name, each in truth.boots.items()}
