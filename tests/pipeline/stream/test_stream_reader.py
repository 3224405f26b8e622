"""The reader: what is acknowledged and when, and the effects of a new generation and of an outage."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaConnectionError
from tests.benchmarks.log import request_log

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.partition import Bounds, Rejection
from endpoint_analytics.pipeline.core.stream_folds import RequestsFold
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.writer import RowWriter
from endpoint_analytics.pipeline.stream import stream_reader
from endpoint_analytics.pipeline.stream.partition_reading import Delivery, LogSpan
from endpoint_analytics.pipeline.stream.range_reader import LogMessage
from endpoint_analytics.pipeline.stream.stream_reader import StreamReader
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig
from endpoint_analytics.schemas.kafka.record_batches import Hole, UnreadableBatch

REPLICAS = 10  # a second of the log is ten messages, a chunk of ten seconds a hundred


class Shell:
    """A reader and its environment, which is also its group.

    `log` is what Kafka has, and delivers again when requested; `begins` is where the group begins, if not at the first
    delivery; the next `unreachable` requests are not answered; the partitions in `queued` have waiting messages.
    """

    def __init__(self, config: ClickHouseConfig, max_rejected_share: float = 1.0) -> None:
        self.writer = RowWriter(config)
        self.log: list[Record] = []
        self.paused: list[int] = []
        self.queued: set[int] = set()
        self.fetched_from: list[tuple[int, int]] = []
        self.number = 1
        self.begins: int | None = None
        self.unreachable = 0
        self.committed = 0
        self.rejections: list[Rejection] = []
        self.reader = StreamReader(
            "requests",
            RequestsFold,
            self.writer,
            self,
            self._send_rejected,
            ChunkRule(10_000),
            Bounds(),
            0.0,
            SimpleNamespace(read=self.read_log, end_offset=self.end_offset),
            max_rejected_share,
        )

    def generation(self) -> int:
        return self.number

    async def start_offset(self, _topic: str, _partition: int, delivered: int) -> int:
        if self.unreachable:
            self.unreachable -= 1
            raise KafkaConnectionError("no leader")
        return delivered if self.begins is None else self.begins

    def look(self, committed: int = 0) -> None:
        """Show the reader the ranges of the logs of two partitions."""
        span = LogSpan(self.log[0].offset, self.log[-1].offset + 1, committed)
        self.reader.saw_logs({0: span, 1: span})

    def acknowledge(self, _topic: str, _partition: int, offset: int) -> None:
        self.committed = offset + 1

    def waits(self, _topic: str, partition: int) -> bool:
        return partition in self.queued

    def pause(self, _topic: str, partition: int) -> None:
        self.paused.append(partition)

    async def fetch_from(self, _topic: str, partition: int, offset: int) -> None:
        self.fetched_from.append((partition, offset))

    async def read_log(self, _topic: str, _partition: int, start: int, stop: int):
        if found := [LogMessage(r, b"sender") for r in self.log if start <= r.offset < stop]:
            yield found

    async def end_offset(self, _topic: str, _partition: int) -> int:
        return self.log[-1].offset + 1

    async def _send_rejected(self, _topic: str, _partition: int, rejections: Sequence[Rejection]) -> None:
        self.rejections.extend(rejections)

    async def deliver(self, records: Sequence[Record], partition: int = 0, generation: int = 0) -> None:
        await self.reader.read([Delivery(partition, generation or self.number, record) for record in records])

    async def read(self, records: Sequence[Record], partition: int = 0) -> None:
        """Deliver the records, and then what the reader requested."""
        answered = len(self.fetched_from)
        await self.deliver(records, partition)
        while answered < len(self.fetched_from):
            partition, offset = self.fetched_from[answered]
            answered += 1
            await self.deliver([record for record in self.log if record.offset >= offset], partition)
        await self.reader.flush_when_due()


def run(config: ClickHouseConfig, scenario: Callable[[Shell], Awaitable[None]]) -> Shell:
    async def main() -> Shell:
        shell = Shell(config)
        try:
            await scenario(shell)
        finally:
            await shell.writer.close()
        return shell

    return asyncio.run(main())


def log(messages: int, replicas: int = REPLICAS, ago_s: int = 600) -> list[Record]:
    # It begins at a multiple of ten seconds, so that chunks begin at multiples of a hundred messages.
    start_us = int(time.time()) // 10 * 10_000_000 - ago_s * 1_000_000
    records = request_log(messages, 30, replicas, random.Random(1), start_us)
    return [Record(r.offset, r.append_ms - 1_010, r.value) for r in records]


def stored(config: ClickHouseConfig) -> tuple[int, int, int]:
    """Return arrived by the boots, arrived by the windows, and chunks."""
    client = connect(config)
    [[boots]] = client.query("SELECT sum(arrived) FROM boots FINAL").result_rows
    [[windows]] = client.query("SELECT sum(arrived) FROM request_windows FINAL").result_rows
    [[chunks]] = client.query("SELECT count() FROM chunks FINAL").result_rows
    client.close()
    return boots, windows, chunks


def test_a_chunk_is_acknowledged_in_order_when_the_next_one_begins(config: ClickHouseConfig) -> None:
    records = log(250)

    async def scenario(shell: Shell) -> None:
        await shell.read(records[:90])
        assert shell.committed == 0
        await shell.read(records[90:110])
        assert shell.committed == 100
        await shell.read(records[110:])

    shell = run(config, scenario)
    assert shell.committed == 200
    assert stored(config) == (2500, 2500, 3)


def test_what_was_fetched_before_a_rebalance_is_left_alone(config: ClickHouseConfig) -> None:
    records = log(50)

    async def scenario(shell: Shell) -> None:
        shell.number = 2
        await shell.deliver(records, generation=1)

    run(config, scenario)
    assert stored(config) == (0, 0, 0)


def test_a_new_generation_reads_the_chunk_again_and_changes_nothing(config: ClickHouseConfig) -> None:
    records = log(250)

    async def scenario(shell: Shell) -> None:
        await shell.read(records[:150])
        shell.number = 2
        await shell.read(records[100:])

    shell = run(config, scenario)
    assert shell.committed == 200
    assert stored(config) == (2500, 2500, 3)


def test_another_worker_goes_on_where_a_killed_one_was(config: ClickHouseConfig) -> None:
    records = log(250)

    async def first(shell: Shell) -> None:
        await shell.read(records[:170])

    async def second(shell: Shell) -> None:
        await shell.read(records[100:])

    run(config, first)
    run(config, second)
    assert stored(config) == (2500, 2500, 3)


def test_a_log_whose_head_was_deleted_is_not_counted_twice(config: ClickHouseConfig) -> None:
    records = log(250)

    async def first(shell: Shell) -> None:
        await shell.read(records[:230])

    async def from_the_middle_of_a_chunk(shell: Shell) -> None:
        shell.log = records[130:]
        shell.look()
        await shell.read(records[130:])

    run(config, first)
    shell = run(config, from_the_middle_of_a_chunk)
    assert stored(config) == (2500, 2500, 3)
    assert shell.committed == 200


def test_a_topic_that_was_made_anew_is_counted_from_its_beginning(config: ClickHouseConfig) -> None:
    records = log(250)
    later = [
        Record(r.offset, r.append_ms, r.value.replace(bytes.fromhex("0123456789abcdef"), bytes(8)))
        for r in log(250, replicas=15, ago_s=300)
    ]

    async def before(shell: Shell) -> None:
        await shell.read(records)

    async def anew(shell: Shell) -> None:
        await shell.read(later[:160])

    async def and_again(shell: Shell) -> None:
        shell.log = later
        shell.look()
        await shell.read(later[150:])

    for scenario in (before, anew, and_again):
        run(config, scenario)
    assert stored(config)[:2] == (5000, 5000)


def test_an_outage_of_clickhouse_is_waited_out(config: ClickHouseConfig, tmp_path) -> None:
    records = log(120)
    with ClickHouseProcess(tmp_path / "clickhouse") as process:
        own = process.config()
        migrate(own)

        async def scenario(shell: Shell) -> None:
            await shell.read(records[:50])
            await asyncio.to_thread(process.kill)
            reading = asyncio.create_task(shell.read(records[50:]))
            while not shell.writer.failure:
                await asyncio.sleep(0.01)
            assert not reading.done()
            assert shell.committed == 0
            again = ClickHouseProcess(tmp_path / "clickhouse", port=int(process.url.rsplit(":", 1)[1]))
            await asyncio.to_thread(again.start)
            try:
                await reading
                assert not shell.writer.failure
                assert stored(own) == (1200, 1200, 2)
            finally:
                await asyncio.to_thread(again.stop)

        shell = run(own, scenario)
    assert shell.committed == 100


def test_a_bad_message_is_rejected_once_and_stops_nothing(config: ClickHouseConfig) -> None:
    records = log(20)
    records[7] = Record(7, records[7].append_ms, b"{broken")

    async def scenario(shell: Shell) -> None:
        await shell.read(records)

    shell = run(config, scenario)
    assert [(rejection.record.offset, rejection.error.reason) for rejection in shell.rejections] == [
        (7, "not_json")
    ]
    assert stored(config)[0] == 190
    client = connect(config)
    assert client.query("SELECT offset, reason FROM rejected").result_rows == [(7, "not_json")]
    client.close()


def state_of(config: ClickHouseConfig) -> list[tuple[object, ...]]:
    client = connect(config)
    rows = client.query(
        "SELECT partition, paused, next_offset, changed_by FROM paused_partitions FINAL"
    ).result_rows
    client.close()
    return [tuple(row) for row in rows]


def test_a_partition_of_bad_messages_is_paused_until_it_is_well(
    config: ClickHouseConfig,
) -> None:
    """Its offset stays, even after a restart; once its newest messages are usable, all of it is read."""
    good = log(2300)
    records = [Record(r.offset, r.append_ms, b"{}") for r in good[:2100]] + good[2100:]

    async def bad(shell: Shell) -> None:
        shell.reader._max_rejected_share = shell.reader.pauses._max_share = 0.9
        shell.log = records[:2100]
        await shell.read(records[:2050])
        await shell.read(records[2050:2100])
        await shell.reader.resume_healthy()

    async def well(shell: Shell) -> None:
        shell.reader._max_rejected_share = shell.reader.pauses._max_share = 0.9
        shell.log = records[:2100]
        await shell.read(records[2000:2100])
        await shell.reader.resume_healthy()
        assert shell.committed == 0
        shell.log = records
        await shell.reader.resume_healthy()
        await shell.read(records[2000:])

    shell = run(config, bad)
    assert shell.paused
    assert shell.committed <= 2000
    [(partition, paused, next_offset, by)] = state_of(config)
    assert (partition, paused, by) == (0, 1, "worker")
    assert 2000 <= next_offset <= 2100
    shell = run(config, well)
    assert shell.fetched_from == [(0, 2000)]
    assert state_of(config)[0][1] == 0
    assert stored(config)[0] == 10 * 200
    assert shell.committed == 2200


def test_what_is_idle_is_acknowledged_and_belongs_to_its_chunk_all_the_same(
    config: ClickHouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the broker's clock steps back, a reader that begins after the acknowledged offset rereads the chunk."""
    monkeypatch.setattr(stream_reader, "IDLE_MARGIN_S", -10.0)
    records = log(250)

    async def idle(shell: Shell) -> None:
        await shell.read(records[:150])
        await shell.reader.flush_when_due()
        assert shell.committed == 150

    async def heir(shell: Shell) -> None:
        shell.log = records
        shell.look()
        await shell.read(records[150:])

    run(config, idle)
    run(config, heir)
    assert stored(config) == (2500, 2500, 3)


def test_a_message_that_comes_again_is_folded_once(config: ClickHouseConfig) -> None:
    records = log(150)

    async def scenario(shell: Shell) -> None:
        await shell.read(records[:60])
        await shell.read(records[40:])

    shell = run(config, scenario)
    assert stored(config) == (1500, 1500, 2)
    assert shell.committed == 100


def without(records: Sequence[Record], first: int, last: int) -> list[Record]:
    return [record for record in records if not first <= record.offset <= last]


def test_what_is_not_delivered_is_fetched_again(config: ClickHouseConfig) -> None:
    """Within a chunk or at its end, and only once, however much arrives after it meanwhile."""
    records = log(250)

    async def scenario(shell: Shell) -> None:
        shell.log = records
        await shell.read(records[:40])
        await shell.deliver(without(records[40:100], 50, 60))
        await shell.deliver(records[100:110])
        assert shell.fetched_from == [(0, 50)]
        await shell.read(records[50:160])
        await shell.read(without(records[160:], 160, 175))

    shell = run(config, scenario)
    assert stored(config) == (2500, 2500, 3)
    assert shell.committed == 200
    assert shell.fetched_from == [(0, 50), (0, 160)]


def test_what_was_lost_at_the_end_is_fetched_again(
    config: ClickHouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the end of the log shows that it is missing. Nothing of partition 1 was ever delivered."""
    monkeypatch.setattr(stream_reader, "MISSED_AFTER_S", 0.0)
    records = log(250)

    async def scenario(shell: Shell) -> None:
        shell.log = records
        await shell.read(records[:240])
        shell.begins, shell.unreachable = 0, 1
        for fetched in ([], [(0, 240)], [(0, 240), (0, 240), (1, 0)]):
            shell.look()
            await shell.reader.flush_when_due()
            assert shell.fetched_from == fetched
        await shell.read(records[240:])
        await shell.read(records, partition=1)
        assert shell.reader.stored_of(0, 0).next_offset == 250
        assert shell.reader.stored_of(1, 0).next_offset == 250

    run(config, scenario)
    assert stored(config) == (5000, 5000, 6)


def test_what_waits_in_the_queue_or_in_our_hands_is_not_missed(
    config: ClickHouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be delivered twice, or more often while storing is slow."""
    monkeypatch.setattr(stream_reader, "MISSED_AFTER_S", 0.0)
    records = log(250)

    async def scenario(shell: Shell) -> None:
        shell.log = records
        await shell.read(records[:100])
        shell.queued = {0, 1}
        for _ in range(3):
            shell.look()
            await shell.reader.flush_when_due()
        assert shell.fetched_from == []
        shell.queued = {1}
        async with shell.reader._lock:
            reading = asyncio.create_task(shell.deliver(records[100:]))
            await asyncio.sleep(0)
            shell.look()
            for _ in range(3):
                await shell.reader._fetch_what_is_missed()
        await reading
        assert shell.fetched_from == []

    run(config, scenario)


def test_what_is_delivered_from_behind_the_beginning_loses_nothing_before_it(
    config: ClickHouseConfig,
) -> None:
    """Fetched before a rebalance but labelled with the new generation: the beginning is delivered after it."""
    records = log(250)

    async def scenario(shell: Shell) -> None:
        shell.log, shell.begins = records, 0
        await shell.read(records[130:150])

    shell = run(config, scenario)
    assert stored(config) == (2500, 2500, 3)
    assert shell.committed == 200
    assert shell.fetched_from == [(0, 0)]


def test_a_beginning_within_a_chunk_that_was_not_delivered_is_found(config: ClickHouseConfig) -> None:
    records = log(250)

    async def killed(shell: Shell) -> None:
        await shell.read(records[:150])

    async def heir(shell: Shell) -> None:
        shell.log, shell.begins = records, 120
        shell.look()
        await shell.read(records[170:])

    run(config, killed)
    shell = run(config, heir)
    assert stored(config) == (2500, 2500, 3)
    assert shell.fetched_from == [(0, 120), (0, 100)]


def test_nothing_is_read_while_nobody_says_whether_its_chunk_is_there_still(
    config: ClickHouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reader, "MISSED_AFTER_S", 0.0)
    records = log(250)

    async def killed(shell: Shell) -> None:
        await shell.read(records[:150])

    async def heir(shell: Shell) -> None:
        await shell.deliver(records[120:])
        assert shell.reader.messages == 0
        shell.log = records
        shell.look()
        await shell.read(records[120:])

    run(config, killed)
    run(config, heir)
    assert stored(config) == (2500, 2500, 3)


def test_what_the_log_does_not_hold_any_more_is_not_waited_for(config: ClickHouseConfig) -> None:
    records = log(250)

    async def scenario(shell: Shell) -> None:
        shell.log = records[120:]
        shell.look()
        await shell.read(records[:90])
        await shell.read(records[120:])

    shell = run(config, scenario)
    assert stored(config) == (2200, 2200, 3)
    assert shell.fetched_from == [(0, 120)]


def test_a_head_that_goes_while_its_chunk_is_fetched_again_is_not_counted_twice(
    config: ClickHouseConfig,
) -> None:
    records = log(250)

    async def killed(shell: Shell) -> None:
        await shell.read(records[:230])

    async def heir(shell: Shell) -> None:
        shell.log = records[90:]
        shell.look()
        await shell.deliver(records[120:])
        assert shell.fetched_from == [(0, 100)]
        shell.log = records[130:]
        shell.look()
        await shell.deliver(records[130:])  # Kafka puts the consumer to where the log begins
        for reading in shell.reader._readings.values():
            reading.refetched_at = 0.0
        await shell.read(records[140:])

    run(config, killed)
    shell = run(config, heir)
    assert stored(config) == (2500, 2500, 3)
    assert shell.fetched_from == [(0, 100), (0, 130)]


def test_what_the_log_leaves_out_is_not_missing(config: ClickHouseConfig) -> None:
    """Transaction markers and unreadable batches: the reader does not wait for them, and progress passes them."""
    records = without(log(250), 50, 60)[:-1]

    async def scenario(shell: Shell) -> None:
        shell.reader.report(0, [], [Hole(50, 54), Hole(55, 60)])
        await shell.read(records)
        shell.reader.report(0, [UnreadableBatch(249, 252, None, "torn", b"?", 1)], [Hole(253, 253)])
        await shell.reader.flush_when_due()
        assert shell.reader.stored_of(0, 0).next_offset == 254

    shell = run(config, scenario)
    assert stored(config) == (2380, 2380, 3)
    assert shell.paused == []
    assert [(r.record.offset, r.error.reason) for r in shell.rejections] == [(249, "unreadable_batch")]


def test_where_to_begin_is_asked_until_it_is_known(config: ClickHouseConfig) -> None:
    records = log(250)

    async def scenario(shell: Shell) -> None:
        shell.log, shell.begins, shell.unreachable = records, 0, 2
        for _ in range(2):
            await shell.deliver(records[50:150])
        assert shell.reader.messages == 0
        await shell.read(records[50:150])

    shell = run(config, scenario)
    assert stored(config) == (2500, 2500, 3)
    assert shell.fetched_from == [(0, 0)]


def test_reports_without_room_are_refused(config: ClickHouseConfig) -> None:
    async def scenario(shell: Shell) -> None:
        reported = [shell.reader.report(0, [], [Hole(n, n)]) for n in range(stream_reader.MAX_REPORTS + 1)]
        assert reported == [True] * stream_reader.MAX_REPORTS + [False]
        await shell.reader.flush_when_due()
        assert shell.reader.report(0, [], [Hole(0, 0)])

    run(config, scenario)


def test_rows_of_a_store_that_was_cancelled_are_stored_the_next_time(config: ClickHouseConfig) -> None:
    records = log(120)

    async def scenario(shell: Shell) -> None:
        write = shell.writer.write

        async def hangs(rows) -> None:
            await asyncio.Event().wait()

        shell.writer.write = hangs
        reading = asyncio.create_task(shell.read(records[:50]))
        await asyncio.sleep(0.3)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await shell.reader.stop()
        shell.writer.write = write
        await shell.read(records[50:])

    shell = run(config, scenario)
    assert stored(config) == (1200, 1200, 2)
    assert shell.committed == 100


def test_reading_goes_on_while_rows_are_stored(config: ClickHouseConfig) -> None:
    records = log(90)

    async def scenario(shell: Shell) -> None:
        write, stores, may_store = shell.writer.write, [], asyncio.Event()

        async def slow(rows) -> None:
            stores.append(len(rows))
            await may_store.wait()
            await write(rows)

        shell.writer.write = slow
        for start in range(0, 90, 30):
            await shell.deliver(records[start : start + 30])
            await asyncio.sleep(0)
        assert (shell.reader.messages, len(stores)) == (90, 1)
        assert shell.reader.stored == {}  # nothing of it counts as stored before it is
        may_store.set()
        await shell.reader.flush_when_due()
        assert shell.reader.stored[0].next_offset in (30, 90)
        await shell.reader.flush_when_due()
        assert (shell.reader.stored[0].next_offset, len(stores)) == (90, 2)

    run(config, scenario)
    assert stored(config)[0] == 900


def test_what_prevents_storing_ends_reading(config: ClickHouseConfig) -> None:
    records = log(60)

    async def scenario(shell: Shell) -> None:
        async def broken(_rows) -> None:
            raise KeyError("a bug")

        write, shell.writer.write = shell.writer.write, broken
        await shell.deliver(records[:30])
        await asyncio.sleep(0)
        with pytest.raises(KeyError, match="a bug"):
            await shell.deliver(records[30:])
        with pytest.raises(KeyError, match="a bug"):
            await shell.reader.flush_when_due()
        shell.writer.write = write

    run(config, scenario)
    assert stored(config)[0] == 0


def test_a_read_that_outlives_its_generation_pauses_nothing_in_the_next(config: ClickHouseConfig) -> None:
    """Faust has just started to fetch the partition again, and nothing would resume it."""
    at_ms = int(time.time() * 1000)
    unusable = [Record(offset, at_ms, b"junk") for offset in range(2_000)]

    async def main() -> Shell:
        shell = Shell(config, max_rejected_share=0.5)
        write = shell.writer.write

        async def write_in_a_rebalance(rows):
            rows = list(rows)
            if any(row.table == "paused_partitions" for row in rows):
                shell.number = 2
            await write(rows)

        shell.writer.write = write_in_a_rebalance
        try:
            await shell.read(unusable)
            assert shell.paused == []
            await shell.deliver(unusable[:10])
            assert shell.paused == [0]
            assert 0 in shell.reader.pauses
        finally:
            await shell.writer.close()
        return shell

    asyncio.run(main())


def test_a_partition_that_is_cancelled_from_within_ends_the_read(config: ClickHouseConfig) -> None:
    """Otherwise the messages it had taken would be skipped."""

    async def scenario(shell: Shell) -> None:
        async def cancelled(*_: object) -> None:
            raise asyncio.CancelledError

        shell.reader._boots = cancelled
        with pytest.raises(RuntimeError, match="cancelled"):
            await shell.read(log(50))

    run(config, scenario)


def test_windows_that_were_refused_are_counted_although_the_head_of_the_log_is_gone(config) -> None:
    """A boot's state claims what is in windows: where those were not stored, it must not be stored either."""
    records = log(250)

    async def killed(shell: Shell) -> None:
        await shell.read(records[:120])  # chunk 100, stored through 119
        insert = shell.writer._insert

        async def refuses(rows) -> None:
            if rows.table == "request_windows":
                await asyncio.sleep(0.2)  # what comes at the same time is stored
                raise RuntimeError("killed")
            await insert(rows)

        shell.writer._insert = refuses
        with pytest.raises(RuntimeError):
            await shell.read(records[120:180])

    async def heir(shell: Shell) -> None:
        shell.log = records[110:]
        shell.look()
        await shell.read(records[110:])

    run(config, killed)
    run(config, heir)
    assert stored(config)[1] == 2500


def test_a_replay_after_the_row_of_a_chunk_was_lost_changes_nothing(config) -> None:
    records = log(450)

    async def whole(shell: Shell) -> None:
        await shell.read(records)

    run(config, whole)
    assert stored(config)[:2] == (4500, 4500)
    client = connect(config)
    client.command("DELETE FROM chunks WHERE chunk = 100")
    client.close()
    run(config, whole)
    assert stored(config)[:2] == (4500, 4500)
