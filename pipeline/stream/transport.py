"""Faust's aiokafka transport, with a consumer that no batch stops, and that has no mind of its own.

Faust hands over each message with `wait_first(deliver, suspended)`, which makes a task of both and of two
more. Delivering almost never waits: it puts the message into a queue with room. So it is tried on the spot,
and only a delivery that does wait goes on in Faust's own way. tests/benchmarks/worker.py shows the difference.

Faust keeps the newest offset that it delivered, drops what lies before it, and takes what it did not deliver for done.
Both lose messages: an offset may be noted after a rebalance that was delivered before it, and what is dropped while a
partition is paused is committed with what follows. So all that is fetched is delivered here, and committed is what the
reader says is stored; that it has all is the reader's to see.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from aiokafka.errors import LeaderNotAvailableError
from faust.transport.drivers import aiokafka

from endpoint_analytics.pipeline.stream.readable_fetches import Report, make_readable

Value = TypeVar("Value")

ROOM_LOOK_S = 0.02
"""While a partition is held, Faust looks so often for what there is: see `waiting_messages`."""

FETCH_WAIT_MS = 200
"""A broker that has nothing new answers after so long; a partition that is read up waits for such an answer."""


class ConsumerThread(aiokafka.AIOKafkaConsumerThread):
    """The thread of aiokafka's consumer, which reads through the sieve."""

    async def on_start(self) -> None:
        """Start the consumer; it fetches once it has partitions."""
        await super().on_start()
        transport: Any = self.transport
        make_readable(self._consumer, transport.report)
        self._ensure_consumer()._fetcher._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - Faust's 1,500 are fixed

    async def committed(self, tp: Any) -> int | None:
        """Return what the group has committed, as the broker has it."""
        return await self._ask(self._ensure_consumer().committed(tp))

    async def earliest_offsets(self, *partitions: Any) -> Mapping[Any, int]:
        """Return where the logs begin, of those that have a leader."""
        led = self._led(partitions)
        return await self._ask(self._ensure_consumer().beginning_offsets(led)) if led else {}

    async def highwaters(self, *partitions: Any) -> Mapping[Any, int]:
        """Return where the logs end, of those that have a leader."""
        led = self._led(partitions)
        return await self._ask(self._ensure_consumer().end_offsets(led)) if led else {}

    def _led(self, partitions: Iterable[Any]) -> list[Any]:
        """Return those that have a leader now: one that has none would keep the answer for all."""
        cluster = self._ensure_consumer()._client.cluster  # noqa: SLF001 - it tells of leaders nowhere else
        return [tp for tp in partitions if cluster.leader_for_partition(tp) not in (None, -1)]

    async def seek_wait(self, partitions: Mapping[Any, int]) -> None:
        """Have the partitions fetched from these offsets on."""

        async def seek() -> None:
            for tp, offset in partitions.items():
                self._ensure_consumer().seek(tp, offset)

        await self._ask(seek())

    async def _ask(self, answer: Coroutine[Any, Any, Value]) -> Value:
        """Have the consumer's thread answer at once: Faust's queue waits a second for what is being fetched."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer, self.thread_loop))


class Consumer(aiokafka.Consumer):
    """The consumer, delivering on the spot where that does not wait."""

    def __init__(
        self, transport: Any, callback: Callable[[Any], Awaitable[None]], *args: Any, **options: Any
    ) -> None:
        super().__init__(transport, callback, *args, **options)
        self._read_offset = _NoOffsets()
        self._stored: dict[Any, tuple[int | None, int]] = {}
        """What is stored, and in which generation of the group that was said."""

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """What was stored of them is committed by now, or read again by the new owner."""
        self._forget(revoked)
        await super().on_partitions_revoked(revoked)

    _thread: ConsumerThread
    app: Any

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """Wait for the first of `coros`: see mode's Service.wait_first."""
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
        return await super().wait_first(_go_on(deliver, waits_for), suspended)

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        """Have the partitions handed over again, but for those that are held."""
        super().resume_partitions(tps)
        self._active_partitions.difference_update(self._buffered_partitions)

    def on_buffer_drop(self, tp: Any) -> None:
        """Hold a partition no more; paused it stays."""
        super().on_buffer_drop(tp)
        self._active_partitions.difference_update(self._paused_partitions)

    def waits(self, tp: Any) -> bool:
        """Return whether messages of the partition were delivered and not read, or are kept back for those."""
        return tp in self._buffered_partitions or any(queue.holds(tp) for queue in self.app.queues)

    def read(self, tp: Any) -> None:
        """Note that the reader has a message of the partition in its hands."""
        for queue in self.app.queues:
            queue.read(tp)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Say nothing: Faust takes a partition that is held or paused for one that hangs, every 2.5 s for ever."""

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:
        """Wait for what is fetched of the active partitions; one that is held may be active again any time."""
        if not self._buffered_partitions:
            return await super()._wait_next_records(timeout)
        if self.flow_active and not self._get_active_partitions():
            await self.sleep(ROOM_LOOK_S)
            return {}, set()
        return await super()._wait_next_records(ROOM_LOOK_S)

    def committed(self, tp: Any) -> int | None:
        """Return the offset before which the group has acknowledged all, None without any or while it is not known."""
        return self._committed_offset.get(tp)

    async def begin(self, tp: Any, delivered: int) -> int:
        """Return where the group begins to read: what is committed, or the log's start; see `group`."""
        if self.committed(tp) == delivered:
            return delivered
        committed = await self._thread.committed(tp)
        if committed and committed <= _known(tp, await self.highwaters(tp)):
            return committed
        # Nothing is committed, or the topic was made anew: commits follow.
        start = _known(tp, await self.earliest_offsets(tp))
        self._committed_offset[tp] = None
        return min(start, delivered)

    def acknowledge(self, tp: Any, offset: int) -> None:
        """Let all to this offset be committed, while the group's generation lasts."""
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
    """Return what a leader said; raise for want of one, so that it is asked again."""
    try:
        return offsets[tp]
    except KeyError:
        raise LeaderNotAvailableError(f"{tp.topic}/{tp.partition} has no leader") from None


class _NoOffsets(dict[Any, int | None]):
    """Remembers nothing: for Faust, nothing was delivered yet."""

    def __getitem__(self, _: Any) -> None:
        return None

    def __setitem__(self, _: Any, __: int | None) -> None:
        pass

    def update(self, *_: Any, **__: Any) -> None:
        pass


async def _go_on(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
    return await _resume(coroutine, waits_for)


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that was begun and yielded `waits_for`."""
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
    """The transport with that consumer; `report` takes what it has to pass over."""

    Consumer = Consumer
    report: Report
