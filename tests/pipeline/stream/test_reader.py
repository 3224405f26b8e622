"""The reader: what is acknowledged when, what a new generation does, and what an outage does."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
from tests.benchmarks.log import request_log

from endpoint_analytics.infra.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.folders import RequestsFolder
from endpoint_analytics.pipeline.core.partition import Bounds, Rejection
from endpoint_analytics.pipeline.store.connect import ClickHouseConfig, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.writer import RowWriter
from endpoint_analytics.pipeline.stream.reader import Delivery, StreamReader
from endpoint_analytics.pipeline.stream.rejections import TooManyRejectedError

REPLICAS = 10  # a second of the log is ten messages, a chunk of ten seconds a hundred


class Shell:
    """A reader with what surrounds it: offsets that were acknowledged, rejections, the group's generation."""

    def __init__(self, config: ClickHouseConfig, max_rejected_share: float = 1.0) -> None:
        self.writer = RowWriter(config)
        self.generation = 1
        self.acknowledged: list[int] = []
        self.rejections: list[Rejection] = []
        self.reader = StreamReader(
            "requests",
            RequestsFolder,
            self.writer,
            lambda: self.generation,
            self._send_rejected,
            ChunkRule(),
            Bounds(),
            0.0,
            max_rejected_share,
        )

    async def _send_rejected(self, _topic: str, _partition: int, rejections: Sequence[Rejection]) -> None:
        self.rejections.extend(rejections)

    async def read(self, records: Sequence[Record], generation: int = 1) -> None:
        await self.reader.read(
            [
                Delivery(0, generation, record, lambda offset=record.offset: self.acknowledged.append(offset))
                for record in records
            ]
        )


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
        assert shell.acknowledged == []
        await shell.read(records[90:110])
        assert shell.acknowledged == list(range(100))
        await shell.read(records[110:])

    shell = run(config, scenario)
    assert shell.acknowledged == list(range(200))
    assert stored(config) == (2500, 2500, 3)


def test_what_was_fetched_before_a_rebalance_is_left_alone(config: ClickHouseConfig) -> None:
    records = log(50)

    async def scenario(shell: Shell) -> None:
        shell.generation = 2
        await shell.read(records, generation=1)

    run(config, scenario)
    assert stored(config) == (0, 0, 0)


def test_a_new_generation_reads_the_chunk_again_and_changes_nothing(config: ClickHouseConfig) -> None:
    records = log(250)

    async def scenario(shell: Shell) -> None:
        await shell.read(records[:150])
        shell.generation = 2
        await shell.read(records[100:], generation=2)

    shell = run(config, scenario)
    assert shell.acknowledged == list(range(200))
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
        await shell.read(records[130:])

    run(config, first)
    shell = run(config, from_the_middle_of_a_chunk)
    assert stored(config) == (2500, 2500, 3)
    assert shell.acknowledged == list(range(130, 200))


def test_a_topic_that_was_made_anew_is_counted_from_its_beginning(config: ClickHouseConfig) -> None:
    records = log(250)
    later = [
        Record(r.offset, r.append_ms, r.value.replace(b"0123456789abcdef", b"fedcba9876543210"))
        for r in log(250, replicas=15, ago_s=300)
    ]

    async def before(shell: Shell) -> None:
        await shell.read(records)

    async def anew(shell: Shell) -> None:
        await shell.read(later[:160])

    async def and_again(shell: Shell) -> None:
        await shell.read(later[150:])

    for scenario in (before, anew, and_again):
        run(config, scenario)
    assert stored(config)[:2] == (5000, 5000)


def test_an_outage_of_clickhouse_is_waited_out(config: ClickHouseConfig, tmp_path) -> None:
    records = log(120)
    with ClickHouseProcess(tmp_path / "clickhouse") as process:
        own = ClickHouseConfig(url=process.url)
        migrate(own)

        async def scenario(shell: Shell) -> None:
            await shell.read(records[:50])
            await asyncio.to_thread(process.kill)
            reading = asyncio.create_task(shell.read(records[50:]))
            while not shell.writer.failure:
                await asyncio.sleep(0.01)
            assert not reading.done()
            assert shell.acknowledged == []
            again = ClickHouseProcess(tmp_path / "clickhouse", port=int(process.url.rsplit(":", 1)[1]))
            await asyncio.to_thread(again.start)
            try:
                await reading
                assert not shell.writer.failure
                assert stored(own) == (1200, 1200, 2)
            finally:
                await asyncio.to_thread(again.stop)

        shell = run(own, scenario)
    assert shell.acknowledged == list(range(100))


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


def test_a_topic_of_bad_messages_stops_the_worker(config: ClickHouseConfig) -> None:
    records = [Record(record.offset, record.append_ms, b"{}") for record in log(2100)]

    async def main() -> None:
        shell = Shell(config, max_rejected_share=0.9)
        try:
            with pytest.raises(TooManyRejectedError, match="--max-rejected-share"):
                await shell.read(records)
        finally:
            await shell.writer.close()

    asyncio.run(main())


def test_a_message_that_comes_again_is_folded_once(config: ClickHouseConfig) -> None:
    records = log(150)

    async def scenario(shell: Shell) -> None:
        await shell.read(records[:60])
        await shell.read(records[40:])

    shell = run(config, scenario)
    assert stored(config) == (1500, 1500, 2)
    assert sorted(set(shell.acknowledged)) == list(range(100))


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
        shell.writer.write = write
        await shell.read(records[50:])

    shell = run(config, scenario)
    assert stored(config) == (1200, 1200, 2)
    assert shell.acknowledged == list(range(100))
