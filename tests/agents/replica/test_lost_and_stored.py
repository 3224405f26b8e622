"""What the agent accepted, less what is stored, is the content of what was dropped: with the worker's own fold."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agents.folded import content, fold, less

from endpoint_analytics.agents.core.batching import Batcher
from endpoint_analytics.agents.core.clock import steady_offset_us
from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.spool.spool import Spool
from endpoint_analytics.agents.spool.spool_outbox import SpoolOutbox
from endpoint_analytics.schemas.codec import decode_requests, encode

CONFIG = AgentConfig(namespace="acme", endpoint="classifier", replica_id="replica-1")
START_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000


class Replica:
    """A random life with the test's clocks: `now_us` never jumps, `wall_us` may."""

    def __init__(self, seed: int = 0) -> None:
        self.now_us = self.jump_us = 0
        self._random = random.Random(seed)
        self._recorder = Recorder(10**6, lambda: self.now_us * 1_000)
        self._batcher = Batcher(CONFIG, "boot-1")
        self._offset_us = START_US
        self._open = []

    def live(self, length_us: int) -> None:
        for _ in range(self._random.randrange(12)):
            self.now_us += length_us // 12
            self._open.append(self._recorder.arrive())
            self._open = [request for request in self._open if not self._go_on(request)]
        self.now_us += self._random.randrange(1_000)

    def flush(self, dropped_batches):
        self._offset_us = steady_offset_us(self._offset_us, START_US + self.jump_us)
        (batch,) = self._batcher.batches(self._recorder.snapshot(), self._offset_us, {}, dropped_batches)
        return batch

    def _go_on(self, request) -> bool:
        step = self._random.randrange(5)
        if step == 0:
            request.respond(self._random.choice([200, 200, 404, 500]))
        elif step == 1:
            request.finish()
        elif step == 2:
            request.abort()
        return step in {1, 2}


@given(st.integers(0, 2**32), st.lists(st.booleans(), min_size=1, max_size=30))
@settings(max_examples=60)
def test_totals_less_stored_is_what_was_dropped_for_any_drops(seed, drops):
    replica = Replica(seed)
    kept, lost, log = [], [], []
    for drop in [*drops, False]:
        replica.live(1_000_000)
        batch = replica.flush({"spool_full": len(lost)} if lost else {})
        (lost if drop else kept).append(batch)
        if not drop:
            log.append(((START_US + replica.now_us) // 1_000, encode(batch)))
    stored = fold(log)
    totals = kept[-1].totals
    assert stored.boot_totals("boot-1") == stored.window_totals() == less(totals, content(lost))
    row = stored.boots["boot-1"]
    assert row["missing"] == len(lost) == sum(row["dropped_batch_counts"])
    assert row["duplicates"] == 0


@pytest.mark.parametrize("drop_newest", [False, True])
def test_what_spool_and_memory_drop_is_missing_by_cause(tmp_path, drop_newest):
    """The disk fails for a while, then the size limit is reached; another process's messages are folded."""
    replica = Replica()
    outbox = SpoolOutbox(4, 10**6)
    spool = Spool(tmp_path, "boot-1", "prefix", b"key", 64 * 1024, drop_newest=drop_newest)
    batches = []

    def flush() -> None:
        for _ in range(20):
            replica.live(50_000)
        dropped = {**outbox.dropped, **spool.figures.dropped.get("requests", {})}
        batches.append(replica.flush(dropped))
        outbox.put(encode(batches[-1]))

    def save() -> None:
        while unwritten := outbox.after(0):
            run, kept = spool.append("requests", unwritten)
            outbox.forget(run[-1].number)
            if not kept:
                spool.count_refused("requests", len(run))

    for turn in range(60):
        flush()
        if turn not in range(20, 30):
            save()
    if drop_newest:  # Kafka takes some, so that the last ones find room
        early = spool.read("requests", 0)
        spool.delete_through("requests", early[-1].number)
    else:
        early = []
    flush()
    save()
    spool.close()

    messages = [message for _, message in early]
    adopter = Spool(tmp_path, "boot-2", "prefix", b"key", 2**20, drop_newest=False)
    while records := adopter.read_adopted("requests"):
        messages += [record.message for record in records]
        adopter.delete_adopted("requests")
    assert list(tmp_path.iterdir()) == []

    stored = fold([((START_US + replica.now_us) // 1_000, message) for message in messages])
    came = {decode_requests(message).seq for message in messages}
    lost = [batch for batch in batches if batch.seq not in came]
    row = stored.boots["boot-1"]
    assert stored.boot_totals("boot-1") == stored.window_totals() == less(batches[-1].totals, content(lost))
    causes = {**outbox.dropped, **spool.figures.dropped["requests"]}
    assert set(causes) == {"buffer_full", "spool_full"}
    assert row["missing"] == len(lost) == sum(causes.values())
    reported = dict(zip(row["dropped_batch_reasons"], row["dropped_batch_counts"], strict=True))
    assert reported["buffer_full"] == causes["buffer_full"]
    assert (
        reported["spool_full"] <= causes["spool_full"] <= reported["spool_full"] + 6
    )  # the last save's own drops


@given(st.integers(0, 2**32), st.data())
@settings(max_examples=60)
def test_a_replay_of_any_part_is_skipped(seed, data):
    replica = Replica(seed)
    log, last = [], None
    for _ in range(15):
        replica.live(1_000_000)
        last = replica.flush({})
        log.append(((START_US + replica.now_us) // 1_000, encode(last)))
    start = data.draw(st.integers(0, 14))
    end_ms = log[-1][0]
    again = [(end_ms + 60_000, message) for _, message in log[start:]]
    stored = fold([*log, *again, *again[: data.draw(st.integers(0, len(again)))]])
    assert stored.boot_totals("boot-1") == stored.window_totals() == less(last.totals, content([]))
    assert stored.boots["boot-1"]["missing"] == 0
    assert stored.boots["boot-1"]["duplicates"] >= len(again)


JUMPS = st.one_of(
    st.just(0),
    st.integers(-2_000, 2_000),
    st.integers(-59_000_000, 59_000_000),
    st.integers(-40 * HOUR_US, 59_000_000),
    st.integers(-100 * HOUR_US, 100 * HOUR_US),
)


@given(st.integers(0, 2**32), st.lists(JUMPS, min_size=1, max_size=20))
@settings(max_examples=100)
def test_a_clock_that_jumps_corrupts_no_window(seed, jumps):
    """The wall clock is wrong by a different amount at each flush; the broker's clock, which decides, is right."""
    replica = Replica(seed)
    batches, log = [], []
    for jump_us in [*jumps, 0]:
        replica.live(5_000_000)
        replica.jump_us = jump_us
        batches.append(replica.flush({}))
        log.append(((START_US + replica.now_us) // 1_000, encode(batches[-1])))
    stored = fold(log)

    assert set(stored.rejected.values()) <= {"too_early", "too_late"}
    lost = [batch for offset, batch in enumerate(batches) if offset in stored.rejected]
    assert stored.boot_totals("boot-1") == stored.window_totals() == less(batches[-1].totals, content(lost))
    row = stored.boots["boot-1"]
    assert row["missing"] == len(lost)
    assert (row["pending"], row["streaming"]) == levels_after(batches)
    starts = {window["window_start"] * 1_000_000 for window in stored.windows}
    for window in stored.windows:
        for name in (
            "pending_request_us",
            "streaming_request_us",
            "pending_max",
            "streaming_max",
            "pending_last",
        ):
            assert window[name] >= 0
        assert 0 <= window["covered_from_us"] <= window["covered_to_us"] <= 10_000_000
    reported = {
        batch.start_us + at_us for batch in batches if batch not in lost for at_us in batch.arrived.at_us
    }
    assert all(any(start <= at_us <= start + 10_000_000 for start in starts) for at_us in reported)
    # Time that requests waited is measured by the clock that never jumps: no jump adds to it or takes away.
    waited_us = sum(window["pending_request_us"] for window in stored.windows)
    if not lost:
        assert abs(waited_us - waited(batches)) <= sum(batch.events for batch in batches)


def levels_after(batches):
    done = content(batches)
    responded = sum(len(batch.responded.at_us) for batch in batches)
    pending = done.arrived - responded - done.aborted_pending
    return pending, responded - done.finished - done.aborted_streaming


def waited(batches):
    """The request-time that was spent pending, from the columns themselves."""
    total_us = 0
    for batch in batches:
        length_us = batch.end_us - batch.start_us
        total_us += batch.pending * length_us
        total_us += sum(length_us - at_us for at_us in batch.arrived.at_us)
        for phase in (batch.responded, batch.aborted_pending):
            total_us -= sum(length_us - at_us for at_us in phase.at_us)
    return total_us
