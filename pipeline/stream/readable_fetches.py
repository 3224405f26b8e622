"""An aiokafka consumer that no batch stops: what it fetches comes through the sieve of `record_batches`.

The shell around that: it stands between the consumer and its connections, and reports what cannot be read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.fetch import FetchRequest

from endpoint_analytics.pipeline.stream.record_batches import (
    MAX_UNPACKED_BYTES,
    Hole,
    Sieve,
    UnreadableBatch,
    empty_batch,
)

log = logging.getLogger(__name__)

LOOKS = 3
"""So often a batch is fetched before it is passed over: the disk or the network may have erred."""

MAX_RESPONSE_BYTES = 4 * MAX_UNPACKED_BYTES
"""What one fetch of all partitions may become, and one batch more."""

ROOM_WAIT_S = 0.5

Report = Callable[[str, int, Sequence[UnreadableBatch], Sequence[Hole]], bool]
"""Takes what is told of a topic's partition, in the consumer's thread, before anything behind it is delivered.

Returns whether there was room for it: if not, nothing of it is delivered, and it is fetched again.
"""


def make_readable(consumer: AIOKafkaConsumer, report: Report) -> None:
    """Let all that a consumer fetches come through the sieve; it was started and has not fetched yet."""
    client = consumer._client  # noqa: SLF001 - it has no other seam below its decoding
    send = client.send
    fetches = _Fetches(report)

    async def send_readably(node_id: Any, request: Any, **options: Any) -> Any:
        response = await send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            response = fetches.sieved(request, response)
            if fetches.lacks_room:
                await asyncio.sleep(ROOM_WAIT_S)
        return response

    client.send = send_readably


class _Fetches:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._sieve = Sieve()
        self._bytes = 0
        self.lacks_room = False
        """Whether something of the newest response could not be reported yet."""
        self._doubts: dict[
            tuple[str, int], tuple[int, int]
        ] = {}  # the offset in doubt, and how often it came

    def sieved(self, request: FetchRequest, response: Any) -> Any:
        asked = {
            (topic, partition): offset
            for topic, partitions in request.topics
            for partition, offset, _ in partitions
        }
        self._bytes, self.lacks_room = 0, False
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
            # The broker itself cannot find its way through the log here.
            believed = self._believed(key)
            self._doubt(key, offset)
            if believed != offset or offset >= end_offset >= 0:
                return found
            detail = f"record batch, offset {offset}: the broker cannot read it (CORRUPT_MESSAGE)"
            batch = UnreadableBatch(offset, offset, None, detail, b"", 0)
            if not self._tell(topic, partition, [batch], []):
                return found
            return (partition, 0, end_offset, *about, empty_batch(offset, offset))
        if error_code or not fetched:
            return found
        if self._bytes > MAX_RESPONSE_BYTES:
            return (partition, error_code, end_offset, *about, b"")  # fetched again, when there is room
        sieved = self._sieve.sieve(bytes(fetched), offset, end_offset, self._believed(key))
        if not self._tell(topic, partition, sieved.unreadable, sieved.holes):
            return (partition, error_code, end_offset, *about, b"")
        if sieved.doubted is not None:
            self._doubt(key, sieved.doubted)
        self._bytes += len(sieved.batches)
        return (partition, error_code, end_offset, *about, sieved.batches)

    def _tell(
        self, topic: str, partition: int, unreadable: Sequence[UnreadableBatch], holes: Sequence[Hole]
    ) -> bool:
        told = not (unreadable or holes) or self._report(topic, partition, unreadable, holes)
        self.lacks_room = self.lacks_room or not told
        return told

    def _believed(self, key: tuple[str, int]) -> int | None:
        offset, looks = self._doubts.get(key, (None, 0))
        return offset if looks >= LOOKS - 1 else None

    def _doubt(self, key: tuple[str, int], offset: int) -> None:
        before, looks = self._doubts.get(key, (None, 0))
        self._doubts[key] = (offset, looks + 1 if before == offset else 1)
        log.warning("%s/%d: what is at offset %d cannot be read; it is fetched again", *key, offset)
