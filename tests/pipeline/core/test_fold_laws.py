"""The laws of the fold: the stored rows depend only on the Kafka log, and equal a simple count of it."""

import random
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.core.logs import Log, logs, make_log
from tests.pipeline.core.reference import comparable, reference
from tests.pipeline.core.worker import Table, Worker, read_together

from endpoint_analytics.pipeline.core import boots, sample_fold, stream_folds
from endpoint_analytics.pipeline.core.chunks import ChunkRule
from endpoint_analytics.pipeline.core.overflow import OverflowRule

STREAMS = ("requests", "hardware", "engine", "outcomes", "replicas")
any_log = st.sampled_from(STREAMS).flatmap(logs)
seeds = st.integers(0, 2**32)


def start(log: Log, table: Table | None = None) -> Worker:
    return Worker(log.stream, table, log.rule)


def read_at_once(log: Log) -> Worker:
    worker = start(log)
    worker.read(log.records)
    worker.close()
    return worker


def read_in_pieces(worker: Worker, records, rng: random.Random):
    """Continue reading in reads of any size, with flushes at any time; a generator of pauses."""
    done = 0
    while done < len(records):
        size = rng.choice([1, 1, 2, 5, 20])
        for _ in worker.steps(records[done : done + size]):
            yield
        done += size
        if rng.random() < 0.5:
            worker.flush()
            yield
    worker.close()


def finish(steps) -> None:
    for _ in steps:
        pass


@given(any_log)
def test_the_rows_are_those_of_the_reference(log):
    assert comparable(read_at_once(log).table.final()) == reference(log)


@given(any_log, seeds)
def test_however_the_log_is_read_the_rows_are_the_same(log, seed):
    worker = start(log)
    finish(read_in_pieces(worker, log.records, random.Random(seed)))
    assert worker.table.final() == read_at_once(log).table.final()


@given(
    st.sampled_from(STREAMS[:3]).flatmap(lambda stream: st.lists(logs(stream), min_size=2, max_size=4)), seeds
)
def test_partitions_that_are_folded_together_are_counted_as_if_alone(several, seed):
    rng, table = random.Random(seed), Table()
    workers = [Worker(log.stream, table, log.rule, partition=number) for number, log in enumerate(several)]
    waiting = [deque(log.records) for log in several]
    while any(waiting):
        runs = [
            (worker, [records.popleft() for _ in range(min(rng.randrange(9), len(records)))])
            for worker, records in zip(workers, waiting, strict=True)
        ]
        read_together(runs)
        if rng.random() < 0.3:
            rng.choice(workers).flush()
    for worker in workers:
        worker.close()
    expected = Table()
    for number, log in enumerate(several):
        alone = Worker(log.stream, expected, log.rule, partition=number)
        alone.read(log.records)
        alone.close()
        assert workers[number].refused == alone.refused
    assert table.final() == expected.final()


@given(any_log)
def test_what_is_refused_does_not_depend_on_what_it_was_read_with(log):
    alone = start(log)
    for record in log.records:
        alone.read([record])
    alone.close()
    together = read_at_once(log)
    assert alone.refused == together.refused
    assert alone.table.final()["rejected"] == together.table.final()["rejected"]


@settings(max_examples=25)
@given(any_log)
def test_a_worker_that_begins_again_at_any_chunk_stores_the_same_rows(log):
    whole = read_at_once(log)
    for chunk in whole.chunks:
        before = Table()
        before.insert(row for row in whole.table.inserted if row.values.get("chunk", chunk) < chunk)
        again = start(log, before)
        again.read(log.after(chunk))
        again.close()
        expected = {
            table: {key: row for key, row in rows.items() if row.get("chunk", chunk) >= chunk}
            for table, rows in whole.table.final().items()
        }
        for table in ("request_windows", "hardware_windows", "engine_windows", "boot_states", "chunks"):
            found = again.table.final()[table]
            assert {key: row for key, row in found.items() if row["chunk"] >= chunk} == expected[table]


def crash_again_and_again(log: Log, seed: int) -> None:
    rng, table = random.Random(seed), Table()
    committed = log.records[0].offset if log.records else 0
    for _ in range(rng.randrange(1, 6)):
        worker = start(log, table)
        rest = log.after(committed)
        steps = read_in_pieces(worker, rest, rng)
        for _ in zip(steps, range(rng.randrange(len(rest) + 2)), strict=False):
            committed = worker.chunks[-1]  # what is before the open chunk is stored
    finish(read_in_pieces(start(log, table), log.after(committed), rng))
    assert table.final() == read_at_once(log).table.final()


@given(any_log, seeds)
def test_crashes_change_nothing(log, seed):
    crash_again_and_again(log, seed)


def sums(table: Table) -> Counter[tuple[object, ...]]:
    """Return what each boot and window counts, over all chunks."""
    counts = Counter[tuple[object, ...]]()
    for row in table.final()["request_windows"].values():
        key = (row["replica_id"], row["boot_id"], row["window_start"])
        for name in ("arrived", "finished", "latency_sum_us", "ttfb_count", "pending_request_us"):
            counts[*key, name] += row[name]
        for code, count in zip(row["latency_buckets"], row["latency_counts"], strict=True):
            counts[*key, "latency", code] += count
    return counts


@given(logs("requests"), seeds)
def test_a_worker_with_another_rule_for_chunks_continues_what_it_finds(log, seed):
    rng, table = random.Random(seed), Table()
    committed = log.records[0].offset if log.records else 0
    for _ in range(rng.randrange(1, 4)):
        rule = ChunkRule(rng.choice([1_000, 10_000, 60_000, 10**12]), rng.choice([3, 20, 10**6]))
        worker = Worker(log.stream, table, rule)
        rest = log.after(committed)
        for _ in zip(read_in_pieces(worker, rest, rng), range(rng.randrange(len(rest) + 2)), strict=False):
            committed = rng.choice([worker.chunks[-1], committed])  # a commit may be lost
    finish(read_in_pieces(start(log, table), log.after(committed), rng))
    assert sums(table) == sums(read_at_once(log).table)


class Chunks(Table):
    """A table in which nothing but the chunks of another one is stored."""

    def __init__(self, other: Table) -> None:
        super().__init__()
        self._final["chunks"] = dict(other.final()["chunks"])
        self._seen.clear()


def begun(log: Log, table: Table | None = None) -> list[int]:
    """Return where chunks begin when the log is read."""
    worker = start(log, table)
    worker.read(log.records)
    worker.close()
    return worker.chunks


@given(logs("requests"), seeds)
def test_a_replay_of_chunks_whose_own_rows_were_lost_divides_the_log_as_before(log, seed):
    rng, whole = random.Random(seed), read_at_once(log)
    before = Table()
    before.insert(row for row in whole.table.inserted if row.table != "chunks" or rng.random() < 0.5)
    assert begun(log, before) == whole.chunks
    assert before.final() == whole.table.final()


@given(logs("requests"), logs("requests"))
def test_a_topic_that_is_made_anew_is_divided_by_the_rule(log, later):
    table = read_at_once(log).table
    later_ms = 10**9  # a topic is made anew long after
    records = [record._replace(append_ms=record.append_ms + later_ms) for record in later.records]
    worker = Worker("requests", None, later.rule)
    worker.read(records)
    anew = Worker("requests", table, later.rule)
    anew.table = Chunks(table)
    anew.read(records)
    assert anew.chunks == worker.chunks


@given(any_log, seeds)
def test_a_zombie_beside_its_successor_changes_nothing(log, seed):
    rng, table = random.Random(seed), Table()
    zombie = start(log, table)
    running = [read_in_pieces(zombie, log.records, rng)]
    for _ in zip(running[0], range(rng.randrange(len(log.records) + 1)), strict=False):
        pass
    for _ in range(rng.randrange(1, 3)):
        committed = zombie.chunks[-1] if zombie.chunks else 0
        running.append(read_in_pieces(start(log, table), log.after(committed), rng))
    while running:
        steps = rng.choice(running)
        if next(steps, "done") == "done":
            running.remove(steps)
    assert table.final() == read_at_once(log).table.final()


@given(st.sampled_from(("requests", "hardware", "engine", "outcomes")).flatmap(logs), seeds)
def test_crashes_in_a_flood_of_names_change_nothing(log, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_folds, "OverflowRule", lambda: OverflowRule(max_boots=2))
        patch.setattr(sample_fold, "MAX_SERIES", 3)
        patch.setattr(boots, "MAX_REMEMBERED_BOOTS", 2)
        crash_again_and_again(log, seed)


@given(logs("requests", honest=True))
def test_of_an_honest_log_every_request_is_accounted_for(log):
    worker = read_at_once(log)
    assert worker.refused == {}
    newest = {}
    for key, row in sorted(worker.table.final()["boot_states"].items(), key=lambda item: item[1]["chunk"]):
        newest[key[:5]] = row
    for row in newest.values():
        assert row["missing"] == 0
        left = row["finished"] + row["aborted_pending"] + row["aborted_streaming"]
        assert row["arrived"] == left + row["pending"] + row["streaming"]
        for name in ("arrived", "finished", "aborted_pending", "aborted_streaming"):
            assert row[name] == row[f"agent_{name}"]
        assert row["latency_sum_us"] == row["agent_latency_sum_us"]
        assert row["ttfb_sum_us"] == row["agent_ttfb_sum_us"]
        assert dict(zip(row["status_codes"], row["status_counts"], strict=True)) == dict(
            zip(row["agent_status_codes"], row["agent_status_counts"], strict=True)
        )


@given(logs("requests", honest=True))
def test_windows_add_up_to_the_boots(log):
    final = read_at_once(log).table.final()
    for name in (
        "arrived",
        "finished",
        "aborted_pending",
        "aborted_streaming",
        "latency_sum_us",
        "ttfb_count",
    ):
        newest = {}
        for key, row in sorted(final["boot_states"].items(), key=lambda item: item[1]["chunk"]):
            newest[key[:5]] = row[name]
        assert sum(row[name] for row in final["request_windows"].values()) == sum(newest.values())


@given(logs("requests"))
def test_levels_are_never_negative(log):
    levels = ("pending_request_us", "pending_last", "streaming_request_us", "streaming_last")
    for row in read_at_once(log).table.final()["request_windows"].values():
        assert all(row[name] >= 0 for name in levels)
        assert row["pending_last"] <= row["pending_max"] <= row["active_max"]
        assert row["streaming_last"] <= row["streaming_max"] <= row["active_max"]


@pytest.mark.parametrize("stream", STREAMS)
def test_the_logs_hold_what_these_tests_are_about(stream):
    found = set()
    for seed in range(40):
        worker = read_at_once(make_log(stream, seed, 4, 80, ChunkRule(10_000, 50)))
        found |= set(worker.refused.values())
        for row in worker.table.final()["chunks"].values():
            found |= {name for name in ("duplicates", "rejected", "events") if row[name]}
        for row in worker.table.final()["boot_states"].values():
            found |= {name for name in ("missing", "gap_starts") if row[name]}
    expected = {"rejected", "events", "empty", "not_json", "wrong_shape", "unknown_version"}
    expected |= {"too_late", "too_early"}
    expected |= {"duplicates", "missing", "gap_starts"} if stream != "replicas" else set()
    expected |= {"not_conserved", "out_of_interval"} if stream == "requests" else set()
    assert found == expected
