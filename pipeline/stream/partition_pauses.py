"""Pauses a partition whose messages are nearly all unusable, and resumes it.

While it is paused, its offset stays and all other partitions continue. It resumes once it is healthy (enough of its
newest messages are usable), or when the operator says so (`endpoint-analytics partitions resume`). Pauses are stored in
ClickHouse, so that they survive a restart.
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
from endpoint_analytics.pipeline.stream.range_reader import RangeReader
from endpoint_analytics.pipeline.stream.rejection_limit import Share

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
LOOK_WITHIN_S = 10.0
PROBE_MESSAGES = 200
"""The number of newest messages of which enough must be usable."""


class PartitionPauses:
    """This worker's paused partitions of one topic. `is_usable` decodes a message without counting it."""

    def __init__(
        self,
        stream: str,
        topic: str,
        writer: RowWriter,
        range_reader: RangeReader,
        is_usable: Callable[[Record], bool],
        max_share: float,
    ) -> None:
        self._stream = stream
        self._topic = topic
        self._writer = writer
        self._range_reader = range_reader
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
        """Forget partitions that are no longer ours."""
        self._pauses = {p: state for p, state in self._pauses.items() if p in partitions}

    async def begin(
        self, partition: int, share: Share, next_offset: int, before: PausedPartition | None
    ) -> None:
        """Pause a partition that is being read; `before` is its previous state, if any."""
        version = newer_than(before.version if before is not None else 0)
        since_ms = time.time_ns() // 1_000_000
        state = PausedPartition(
            self._stream, partition, True, since_ms, next_offset, str(share), next_offset, version
        )
        self._pauses[partition] = state
        log.error(
            "%s/%d is paused: %s. Are its senders newer than this worker? The table `rejected` has the reasons. "
            "Messages from offset %d on are not lost: they wait in Kafka. The worker resumes by itself once enough of "
            "the newest messages are usable. To resume now and reject unusable messages, run: "
            "endpoint-analytics partitions resume %s %d",
            self._topic, partition, state.reason, next_offset, self._stream, partition,
        )  # fmt: skip
        await self._writer.write([state.row("worker")])

    def restore(self, state: PausedPartition) -> None:
        """Restore the pause of a partition that was paused when it was last read."""
        self._pauses[state.partition] = state

    async def look(
        self, read: Callable[[], Awaitable[dict[tuple[str, int], PausedPartition]]]
    ) -> list[PausedPartition]:
        """Return the partitions to resume: on an operator's request, or because their newest messages are usable."""
        if not self._pauses:
            return []
        stored = await read()
        healthy = []
        for partition, state in list(self._pauses.items()):
            found = stored.get((self._stream, partition))
            if found is not None and not found.paused and found.version > state.version:
                healthy.append(found)
            elif (end := await self._healthy_until(partition, state)) is not None:
                healthy.append(state.resumed(end))
                await self._writer.write([healthy[-1].row("worker")])
        return healthy

    def end(self, state: PausedPartition) -> bool:
        """End a pause; returns False if it has already ended."""
        if self._pauses.pop(state.partition, None) is None:
            return False
        log.warning("%s/%d is resumed", self._topic, state.partition)
        return True

    async def close(self, state: PausedPartition, offset: int) -> PausedPartition:
        """Apply the limit again from this offset on, where the partition is healthy."""
        closed = state.resumed(offset)
        await self._writer.write([closed.row("worker")])
        return closed

    async def _healthy_until(self, partition: int, state: PausedPartition) -> int | None:
        """Return the end of the Kafka log if enough of its newest messages are usable."""
        share = Share()
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                end = await self._range_reader.end_offset(self._topic, partition)
                start = max(end - PROBE_MESSAGES, state.next_offset)
                async for messages in self._range_reader.read(self._topic, partition, start, end):
                    share.count((message.key, self._is_usable(message.record)) for message in messages)
        except (KafkaError, OSError) as error:
            log.debug("%s/%d cannot be checked now: %s", self._topic, partition, error)
            return None
        return end if share.messages and not share.is_unusable(self._max_share) else None
