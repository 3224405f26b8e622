"""Pausing a partition whose messages are nearly all unusable, and taking it up again.

While it is paused its offset stays, and all other partitions go on. It is taken up again when it is well (of its
newest messages enough are usable), or when the operator says so (`endpoint-analytics partitions resume`). What is
paused stands in ClickHouse, so that it is so after a restart too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError

from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.store.paused_partitions import PausedPartition, newer_than
from endpoint_analytics.pipeline.store.writer import RowWriter
from endpoint_analytics.pipeline.stream.log_reader import LogReader
from endpoint_analytics.pipeline.stream.rejections import Share

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
LOOK_WITHIN_S = 10.0
PROBE_MESSAGES = 200
"""The newest messages, of which enough must be usable."""


class Pauses:
    """The paused partitions of one topic that this worker has. `is_usable` decodes a message, and counts nothing."""

    def __init__(
        self,
        stream: str,
        topic: str,
        writer: RowWriter,
        log_reader: LogReader,
        is_usable: Callable[[Record], bool],
        max_share: float,
    ) -> None:
        self._stream = stream
        self._topic = topic
        self._writer = writer
        self._log_reader = log_reader
        self._is_usable = is_usable
        self._max_share = max_share
        self._pauses: dict[int, PausedPartition] = {}

    def __contains__(self, partition: int) -> bool:
        return partition in self._pauses

    def __len__(self) -> int:
        return len(self._pauses)

    def reasons(self) -> list[str]:
        """Return a line for each paused partition."""
        return [
            f"{self._topic}/{partition} is paused at offset {state.next_offset}: {state.reason}"
            for partition, state in sorted(self._pauses.items())
        ]

    def keep(self, partitions: set[int]) -> None:
        """Forget those that are not ours any more."""
        self._pauses = {p: state for p, state in self._pauses.items() if p in partitions}

    async def begin(
        self, partition: int, share: Share, next_offset: int, before: PausedPartition | None
    ) -> None:
        """Pause a partition that is read; `before` is what is known of it."""
        version = newer_than(before.version if before is not None else 0)
        since_ms = time.time_ns() // 1_000_000
        state = PausedPartition(
            self._stream, partition, True, since_ms, next_offset, str(share), next_offset, version
        )
        self._pauses[partition] = state
        log.error(
            "%s/%d is paused: %s. Are its senders newer than this worker? The reasons are in the table `rejected`. "
            "Nothing behind offset %d is lost: it waits. The worker goes on by itself once enough of the newest "
            "messages are usable; to have it go on now and reject what it must: "
            "endpoint-analytics partitions resume %s %d",
            self._topic, partition, state.reason, next_offset, self._stream, partition,
        )  # fmt: skip
        await self._writer.write([state.row("worker")])

    def restore(self, state: PausedPartition) -> None:
        """Pause a partition that was paused when it was last read."""
        self._pauses[state.partition] = state

    async def look(
        self, read: Callable[[], Awaitable[dict[tuple[str, int], PausedPartition]]]
    ) -> list[PausedPartition]:
        """Return what may go on: as somebody said, or as its newest messages say."""
        if not self._pauses:
            return []
        stored = await read()
        well = []
        for partition, state in list(self._pauses.items()):
            found = stored.get((self._stream, partition))
            if found is not None and not found.paused and found.version > state.version:
                well.append(found)
            elif (end := await self._well_until(partition, state)) is not None:
                well.append(state.resumed(end))
                await self._writer.write([well[-1].row("worker")])
        return well

    def end(self, state: PausedPartition) -> bool:
        """End a pause; returns False where there is none any more."""
        if self._pauses.pop(state.partition, None) is None:
            return False
        log.warning("%s/%d is read again", self._topic, state.partition)
        return True

    async def close(self, state: PausedPartition, offset: int) -> PausedPartition:
        """The partition is well at the offset: from there on the limit holds again."""
        closed = state.resumed(offset)
        await self._writer.write([closed.row("worker")])
        return closed

    async def _well_until(self, partition: int, state: PausedPartition) -> int | None:
        """Return the end of the log when enough of its newest messages are usable."""
        share = Share()
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                end = await self._log_reader.end_offset(self._topic, partition)
                start = max(end - PROBE_MESSAGES, state.next_offset)
                async for messages in self._log_reader.read(self._topic, partition, start, end):
                    share.count((message.key, self._is_usable(message.record)) for message in messages)
        except (KafkaError, OSError) as error:
            log.debug("%s/%d cannot be looked at now: %s", self._topic, partition, error)
            return None
        return end if share.messages and not share.is_unusable(self._max_share) else None
