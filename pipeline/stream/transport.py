"""Faust's aiokafka transport, with a consumer that no batch can stop and that makes no decisions about offsets.

What is fetched of a partition at once is one message to Faust, a `Fetched`, because the way from here to an agent costs
more than all that we do with a message. Faust delivers each with `wait_first(deliver, suspended)`, which creates a task
for each and two more. Delivery almost never waits: it puts the message into a queue that is not full. So it is run
directly first, and only a delivery that does wait continues in Faust's way.

Faust records the newest delivered offset, drops messages before it, and considers undelivered messages done. Both lose
messages: an offset delivered before a rebalance may be recorded after it, and messages dropped while a partition is
paused are committed together with later ones. So this consumer delivers everything it fetches and commits only what the
reader reports as stored; the reader checks that nothing is missing.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from aiokafka.errors import LeaderNotAvailableError
from faust.transport.drivers import aiokafka
from faust.types import ConsumerMessage

from endpoint_analytics.schemas.kafka.readable_fetches import Report, make_readable

Value = TypeVar("Value")

HELD_POLL_S = 0.02
"""How often Faust polls while a partition is held: see `waiting_messages`."""

FETCH_WAIT_MS = 200
FETCH_ENOUGH_BYTES = 256 * 1024
"""A broker delays its response until it has this much, or for FETCH_WAIT_MS: to fetch every message costs far more."""


class Fetched(NamedTuple):
    """Records of one partition that were fetched together, in order, as aiokafka gives them: at least one."""

    records: Sequence[Any]
    size_bytes: int


def fetched(records: Sequence[Any]) -> Fetched:
    """Return the records with their size."""
    return Fetched(records, sum(map(_size_bytes, records)))


def _size_bytes(record: Any) -> int:
    size = len(record.value or b"") + len(record.key or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers or ())


class ConsumerThread(aiokafka.AIOKafkaConsumerThread):
    """The thread of aiokafka's consumer, which reads through the sieve."""

    async def on_start(self) -> None:
        """Start the consumer; it fetches once it has partitions."""
        await super().on_start()
        transport: Any = self.transport
        make_readable(self._consumer, transport.report)
        fetcher = self._ensure_consumer()._fetcher  # noqa: SLF001 - Faust has no settings for these
        fetcher._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001
        fetcher._fetch_min_bytes = FETCH_ENOUGH_BYTES  # noqa: SLF001

    async def committed(self, tp: Any) -> int | None:
        """Return the group's committed offset according to the broker."""
        return await self._in_thread(self._ensure_consumer().committed(tp))

    async def earliest_offsets(self, *partitions: Any) -> Mapping[Any, int]:
        """Return the start of the logs of partitions that have a leader."""
        led = self._with_leader(partitions)
        return await self._in_thread(self._ensure_consumer().beginning_offsets(led)) if led else {}

    async def highwaters(self, *partitions: Any) -> Mapping[Any, int]:
        """Return the end of the logs of partitions that have a leader."""
        led = self._with_leader(partitions)
        return await self._in_thread(self._ensure_consumer().end_offsets(led)) if led else {}

    def _with_leader(self, partitions: Iterable[Any]) -> list[Any]:
        """Return those that currently have a leader: one without would delay the answer for all."""
        cluster = self._ensure_consumer()._client.cluster  # noqa: SLF001 - leaders are not public
        return [tp for tp in partitions if cluster.leader_for_partition(tp) not in (None, -1)]

    async def seek_wait(self, partitions: Mapping[Any, int]) -> None:
        """Fetch the partitions from these offsets on."""

        async def seek() -> None:
            for tp, offset in partitions.items():
                self._ensure_consumer().seek(tp, offset)

        await self._in_thread(seek())

    async def _in_thread(self, answer: Coroutine[Any, Any, Value]) -> Value:
        """Run it in the consumer's thread at once: Faust's queue may wait a second for a fetch in progress."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer, self.thread_loop))


class Consumer(aiokafka.Consumer):
    """The consumer, which delivers directly when that does not wait."""

    def __init__(
        self, transport: Any, callback: Callable[[Any], Awaitable[None]], *args: Any, **options: Any
    ) -> None:
        super().__init__(transport, callback, *args, **options)
        self._read_offset = _NoOffsets()
        self._stored: dict[Any, tuple[int | None, int]] = {}
        """How far partitions are stored, with the group generation in which that was reported."""

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Forget them: what was stored is committed by now, or read again by the new owner."""
        self._forget(revoked)
        await super().on_partitions_revoked(revoked)

    _thread: ConsumerThread
    app: Any

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """Wait for the first of `coros`; see `Service.wait_first` of mode."""
        if len(coros) != 2 or timeout is not None or not all(isinstance(c, Coroutine) for c in coros):
            return await super().wait_first(*coros, timeout=timeout)
        deliver, suspended = coros
        try:
            waits_for = deliver.send(None)
        except StopIteration:
            suspended.close()
            return None
        except BaseException:
            suspended.close()
            raise
        return await super().wait_first(_continued(deliver, waits_for), suspended)

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        """Deliver the partitions again, except those that are held."""
        super().resume_partitions(tps)
        self._active_partitions.difference_update(self._buffered_partitions)

    def on_buffer_drop(self, tp: Any) -> None:
        """Release a held partition; if paused, it stays so."""
        super().on_buffer_drop(tp)
        self._active_partitions.difference_update(self._paused_partitions)

    def waits(self, tp: Any) -> bool:
        """Whether messages of the partition were delivered but not read, or are held back behind such messages."""
        return tp in self._buffered_partitions or any(queue.holds(tp) for queue in self.app.queues)

    def read(self, tp: Any) -> None:
        """Note that the reader has taken a message of the partition."""
        for queue in self.app.queues:
            queue.read(tp)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Do nothing: Faust would report a held or paused partition as hanging, every 2.5 s."""

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:
        """Wait for fetched messages of the active partitions; a held one may become active again at any time."""
        if self._buffered_partitions:
            if self.flow_active and not self._get_active_partitions():
                await self.sleep(HELD_POLL_S)
                return {}, set()
            timeout = HELD_POLL_S
        records, active = await super()._wait_next_records(timeout)
        return {tp: [fetched(each)] for tp, each in (records or {}).items()}, active

    def _to_message(self, tp: Any, record: Fetched) -> ConsumerMessage:
        """Return what was fetched of a partition as one message of Faust, with the offset of its last record."""
        last: Any = record.records[-1]
        value: Any = record  # Faust passes it on as it is
        return ConsumerMessage(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000, last.timestamp_type, None, None, value, None,
            None, record.size_bytes, tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    def committed(self, tp: Any) -> int | None:
        """Return the offset before which the group has acknowledged everything, or None if there is none or unknown."""
        return self._committed_offset.get(tp)

    async def start_offset(self, tp: Any, delivered: int) -> int:
        """Return where the group starts reading: the committed offset, or the start of the log; see `group`."""
        if self.committed(tp) == delivered:
            return delivered
        committed = await self._thread.committed(tp)
        if committed and committed <= _known(tp, await self.highwaters(tp)):
            return committed
        # Nothing is committed, or the topic was recreated: start over.
        start = _known(tp, await self.earliest_offsets(tp))
        self._committed_offset[tp] = None
        return min(start, delivered)

    def acknowledge(self, tp: Any, offset: int) -> None:
        """Allow commits up to and including this offset, in the current group generation."""
        generation, before = self._stored.get(tp, (None, 0))
        now = self.app.consumer_generation_id
        self._stored[tp] = now, max(offset + 1, before if generation == now else 0)

    def _forget(self, revoked: Iterable[Any]) -> None:
        for tp in revoked:
            self._stored.pop(tp, None)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[Any]:
        return (tp for tp in list(self._stored) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: Any) -> int | None:
        generation, offset = self._stored.get(tp, (None, 0))
        return offset if generation == self.app.consumer_generation_id else None


def _known(tp: Any, offsets: Mapping[Any, int]) -> int:
    """Return the leader's answer; raises if there is no leader, so that the caller retries."""
    try:
        return offsets[tp]
    except KeyError:
        raise LeaderNotAvailableError(f"{tp.topic}/{tp.partition} has no leader") from None


class _NoOffsets(dict[Any, int | None]):
    """Stores nothing, so that Faust assumes that nothing was delivered yet."""

    def __getitem__(self, _: Any) -> None:
        return None

    def __setitem__(self, _: Any, __: int | None) -> None:
        pass

    def update(self, *_: Any, **__: Any) -> None:
        pass


async def _continued(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
    return await _resume(coroutine, waits_for)


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """Continue a coroutine that was started and yielded `waits_for`."""
    while True:
        try:
            try:
                answer = yield waits_for
            except BaseException as error:  # noqa: BLE001 - handed to the coroutine, as `yield from` does
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(answer)
        except StopIteration as end:
            return end.value


class Transport(aiokafka.Transport):
    """The transport with this consumer; `report` receives unreadable batches and holes."""

    Consumer = Consumer
    report: Report
