"""The shell of `read_progress`: queries the ends of partitions from Kafka, and writes how far they are stored.

Querying and writing are separate tasks, so that progress is still reported while a broker does not respond. Nothing
here ends the worker: if a query fails, the reported progress just gets old. Nothing is reported before ClickHouse's
time is known: it could not be stored either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError
from faust.exceptions import ConsumerNotStarted

from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.writer import RowWriter
from endpoint_analytics.pipeline.stream.partition_progress import PartitionProgress, Stored, WorkerProgress
from endpoint_analytics.pipeline.stream.partition_reading import LogSpan
from endpoint_analytics.pipeline.stream.stream_reader import StreamReader
from endpoint_analytics.pipeline.stream.two_clocks import NOW, TwoClocks

log = logging.getLogger(__name__)

LOOK_EVERY_S, WRITE_EVERY_S = 0.5, 1.0

REPORTED = """
SELECT stream, partition, toUnixTimestamp64Milli(max(read_to) AS newest),
    toUnixTimestamp64Milli(argMax(steady_since, read_to)), toUnixTimestamp64Milli(argMax(stopped_at, read_to))
FROM partition_progress
GROUP BY stream, partition
UNION ALL
SELECT '', 0, 0, 0, 0
"""
"""Its last row is always there: a response that was cut off before its first row would look like no reports at all."""


class ProgressWriter:
    """Reports the progress of this worker's partitions; `consumer` is Faust's, as created by `transport`."""

    def __init__(
        self, readers: Sequence[StreamReader[Any]], writer: RowWriter, consumer: Callable[[], Any]
    ) -> None:
        self._readers = {reader.topic: reader for reader in readers}
        self._writer = writer
        self._consumer = consumer
        self._progress = WorkerProgress()
        self._clocks = TwoClocks(self._clickhouse_ms)

    async def run(self) -> None:
        """Query the ends of our partitions and ClickHouse's time, forever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._clocks.follow())
            group.create_task(self._look_forever())

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            asked_at = self._clocks.now()  # before the query: it makes no claim about later messages
            try:
                ours = [tp for tp in self._consumer().assignment() if tp.topic in self._readers]
                consumer = self._consumer()
                # Concurrently: each waits for the fetch in progress.
                starts, ends = await asyncio.gather(
                    consumer.earliest_offsets(*ours), consumer.highwaters(*ours)
                )
            except (KafkaError, ConsumerNotStarted) as error:
                log.debug("the ends of the log cannot be queried now: %s", error)
                continue
            for topic, reader in self._readers.items():
                reader.saw_logs(
                    {
                        tp.partition: LogSpan(int(starts[tp]), int(end), self._consumer().committed(tp))
                        for tp, end in ends.items()
                        if tp.topic == topic and tp in starts
                    }
                )
            if asked_at is not None:
                try:
                    reported = await self._reported(ends)
                except (StoreError, ClickHouseError, OSError, TimeoutError) as error:
                    log.debug("what was reported of new partitions cannot be queried now: %s", error)
                    continue
                self._progress.observe_ends(
                    asked_at,
                    ((self._readers[tp.topic].stream, tp.partition, int(end)) for tp, end in ends.items()),
                    reported,
                )

    async def _reported(self, ours: Iterable[Any]) -> dict[tuple[str, int], PartitionProgress]:
        """Return what was reported of the partitions that have just become ours; {} without any."""
        keys = [(self._readers[tp.topic].stream, tp.partition) for tp in ours]
        if not any(self._progress.is_new(*key) for key in keys):
            return {}
        rows = (await (await self._writer.client()).query(REPORTED)).result_rows
        if not rows:
            raise OSError("ClickHouse's response is empty")
        return {
            (stream, partition): PartitionProgress.of_report(*report)
            for stream, partition, *report in rows
            if stream
        }

    async def write_forever(self) -> None:
        """Write the progress that advanced, every second."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            now = self._clocks.now()
            if now is not None and (rows := self._progress.advance(now, self._stored())):
                await self._writer.write(rows)

    def _stored(self) -> Iterator[tuple[str, int, Stored]]:
        try:
            ours = self._consumer().assignment()
        except ConsumerNotStarted:
            return
        for tp in ours:
            reader = self._readers.get(tp.topic)
            if reader is not None:
                yield (
                    reader.stream,
                    tp.partition,
                    reader.stored_of(tp.partition, self._consumer().committed(tp)),
                )

    async def _clickhouse_ms(self) -> int:
        rows = (await (await self._writer.client()).query(NOW)).result_rows
        if not rows:  # a response that was cut off before its first row looks like this
            raise OSError("ClickHouse's response is empty")
        return int(rows[0][0])
