"""Makes an aiokafka consumer that no batch can stop: all it fetches passes through the sieve of `record_batches`.

This is the shell: it sits between the consumer and its connections, and reports what cannot be read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.fetch import FetchRequest

from endpoint_analytics.schemas.kafka.record_batches import (
    MAX_UNPACKED_BYTES,
    BatchChecker,
    Hole,
    UnreadableBatch,
    empty_batch,
)

log = logging.getLogger(__name__)

LOOKS = 3
"""How often a batch is fetched before it is skipped: the cause may be a temporary disk or network error."""

MAX_RESPONSE_BYTES = 4 * MAX_UNPACKED_BYTES
"""Maximum unpacked size of one fetch of all partitions, plus one batch."""

FULL_WAIT_S = 0.5

Report = Callable[[str, int, Sequence[UnreadableBatch], Sequence[Hole]], bool]
"""Receives reports about a topic's partition, in the consumer's thread, before any later message is delivered.

Returns whether it was accepted: if not, because too many are queued, nothing is delivered and it is fetched again.
"""


def make_readable(consumer: AIOKafkaConsumer, report: Report) -> None:
    """Pass everything that a consumer fetches through the sieve. Call it after start and before the first fetch."""
    client = consumer._client  # noqa: SLF001 - there is no other hook below its decoding
    send = client.send
    fetches = _Fetches(report)

    async def send_readably(node_id: Any, request: Any, **options: Any) -> Any:
        response = await send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            response = fetches.checked(request, response)
            if fetches.is_full:
                await asyncio.sleep(FULL_WAIT_S)
        return response

    client.send = send_readably


class _Fetches:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._checker = BatchChecker()
        self._bytes = 0
        self.is_full = False
        """Whether some report of the newest response was not accepted yet."""
        self._doubts: dict[
            tuple[str, int], tuple[int, int]
        ] = {}  # the doubtful offset, and how often it was fetched

    def checked(self, request: FetchRequest, response: Any) -> Any:
        asked = {
            (topic, partition): offset
            for topic, partitions in request.topics
            for partition, offset, _ in partitions
        }
        self._bytes, self.is_full = 0, False
        response.topics = [
            (topic, [self._partition(topic, found, asked) for found in partitions])
            for topic, partitions in response.topics
        ]
        return response

    def _partition(
        self, topic: str, found: tuple[Any, ...], asked: dict[tuple[str, int], int]
    ) -> tuple[Any, ...]:
        partition, error_code, end_offset, *about, fetched = found
        key = (topic, partition)
        offset = asked.get(key)
        if offset is None:
            return found
        if error_code == CorruptRecordException.errno:
            # The broker itself cannot parse the log here.
            confirmed = self._confirmed(key)
            self._suspect(key, offset)
            if confirmed != offset or offset >= end_offset >= 0:
                return found
            detail = f"record batch, offset {offset}: the broker cannot read it (CORRUPT_MESSAGE)"
            batch = UnreadableBatch(offset, offset, None, detail, b"", 0)
            if not self._accepts(topic, partition, [batch], []):
                return found
            return (partition, 0, end_offset, *about, empty_batch(offset, offset))
        if error_code or not fetched:
            return found
        if self._bytes > MAX_RESPONSE_BYTES:
            return (partition, error_code, end_offset, *about, b"")  # fetched again later
        checked = self._checker.check(bytes(fetched), offset, end_offset, self._confirmed(key))
        if not self._accepts(topic, partition, checked.unreadable, checked.holes):
            return (partition, error_code, end_offset, *about, b"")
        if checked.suspect is not None:
            self._suspect(key, checked.suspect)
        self._bytes += len(checked.batches)
        return (partition, error_code, end_offset, *about, checked.batches)

    def _accepts(
        self, topic: str, partition: int, unreadable: Sequence[UnreadableBatch], holes: Sequence[Hole]
    ) -> bool:
        accepted = not (unreadable or holes) or self._report(topic, partition, unreadable, holes)
        self.is_full = self.is_full or not accepted
        return accepted

    def _confirmed(self, key: tuple[str, int]) -> int | None:
        offset, looks = self._doubts.get(key, (None, 0))
        return offset if looks >= LOOKS - 1 else None

    def _suspect(self, key: tuple[str, int], offset: int) -> None:
        before, looks = self._doubts.get(key, (None, 0))
        self._doubts[key] = (offset, looks + 1 if before == offset else 1)
        log.warning("%s/%d: the batch at offset %d cannot be read; fetching it again", *key, offset)
