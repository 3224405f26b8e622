"""A topic sender with a spool: sends from memory while Kafka accepts messages, and via the disk while it does not.

A message that Kafka has not stored within SPILL_AFTER_S goes to disk, and so does every later one, at once, until Kafka
has them all: the disk is not touched while Kafka is healthy. At any time a message is in memory, on disk (fsynced), in
Kafka, or counted as dropped. Order is kept: messages on disk go first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping

from endpoint_analytics.agents.delivery.backlog import GROUP_BYTES, GROUP_MESSAGES, pause_s, send_group
from endpoint_analytics.agents.delivery.producer import Outgoing, Producer
from endpoint_analytics.agents.spool.disk import DiskThread
from endpoint_analytics.agents.spool.segments import Numbered
from endpoint_analytics.agents.spool.spool import Spool
from endpoint_analytics.agents.spool.spool_outbox import SpoolOutbox, first_group

SPILL_AFTER_S = 0.2
RETRY_S = 1.0
"""Pause after a failed disk operation."""


class SpooledTopicSender:
    """Sends to `topic` with `key`, backed by the disk. All calls come from the agent's event loop."""

    def __init__(
        self,
        suffix: str,
        topic: str,
        key: bytes,
        outbox: SpoolOutbox,
        producer: Producer,
        spool: Spool,
        disk: DiskThread,
    ) -> None:
        self.sent = 0
        self._suffix = suffix
        self._topic = topic
        self._key = key
        self._outbox = outbox
        self._producer = producer
        self._spool = spool
        self._disk = disk
        self._backlog: list[Numbered] = []  # read from disk, not yet in Kafka
        self._stored_through = 0  # everything up to this number is in Kafka, or counted as dropped
        self._written_through = 0
        self._released_through = 0  # the spool knows that Kafka has everything up to this number
        self._spilling = False
        self._timer: asyncio.TimerHandle | None = None
        self._filled, self._save, self._idle, self._safe = (asyncio.Event() for _ in range(4))
        self._idle.set()
        self._safe.set()

    @property
    def waiting(self) -> int:
        """Number of messages that Kafka has not stored, in memory and on disk."""
        return len(self._outbox) + self._spool.figures.waiting.get(self._suffix, 0)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Dropped messages by reason; `adopted_...` are messages of dead processes."""
        return {**self._outbox.dropped, **self._spool.figures.dropped.get(self._suffix, {})}

    def put(self, message: bytes) -> None:
        """Queue a message; messages are sent in the order in which they were queued."""
        number = self._outbox.put(message)
        self._idle.clear()
        self._safe.clear()
        self._filled.set()
        if self._spilling:
            self._save.set()
        elif self._timer is None:
            self._expect(number)

    def tasks(self) -> tuple[Coroutine[None, None, None], ...]:
        """Return the coroutines to run; they run until cancelled."""
        return self._send_forever(), self._save_forever()

    async def drained(self) -> None:
        """Return once every queued message is stored (or counted as dropped)."""
        await self._idle.wait()

    async def saved(self) -> None:
        """Bring the disk up to date: it then holds exactly what Kafka has not stored."""
        if not self._idle.is_set():
            self._spill()
            await self._safe.wait()
        if self._written_through or self._outbox.writing_through:
            await self._disk.run(self._spool.delete_through, self._suffix, self._stored_through)

    def _expect(self, number: int) -> None:
        """Check SPILL_AFTER_S from now whether Kafka has stored the message `number`; spill if not."""

        def check() -> None:
            self._timer = None
            if self._stored_through < number:
                self._spill()
            elif self._stored_through < self._outbox.last_number:
                self._expect(self._outbox.last_number)

        self._timer = asyncio.get_running_loop().call_later(SPILL_AFTER_S, check)

    def _spill(self) -> None:
        self._spilling = True
        self._save.set()

    async def _send_forever(self) -> None:
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                while await self._send_next():
                    pass
        finally:
            await self._producer.close()

    async def _send_next(self) -> bool:
        """Send the next messages; False when there are none."""
        if not self._backlog and self._written_through > self._stored_through:
            through = self._written_through
            try:
                read = await self._disk.run(self._spool.read, self._suffix, self._stored_through)
            except OSError:
                await asyncio.sleep(RETRY_S)
                return True
            if read is None:  # nothing up to that number is left to send
                self._mark_stored(through)
            self._backlog = read or []
            return True
        if self._backlog:
            group = first_group(self._backlog, GROUP_MESSAGES, GROUP_BYTES)
            await self._send(group)
            self._backlog = self._backlog[len(group) :]
            self._mark_stored(group[-1].number)
            await asyncio.sleep(pause_s(len(group), sum(len(message) for _, message in group)))
            return True
        group = self._outbox.group_after(self._stored_through, GROUP_MESSAGES, GROUP_BYTES)
        if not group:
            self._mark_stored(self._outbox.last_number)  # anything neither in memory nor on disk was dropped
            return False
        self._outbox.sending_through = group[-1].number
        await self._send(group)
        self._mark_stored(group[-1].number)
        return True

    async def _send(self, group: list[Numbered]) -> None:
        lost = await send_group(
            self._producer, self._topic, [Outgoing(self._key, message) for _, message in group], self._outbox
        )
        self.sent += len(group) - lost

    def _mark_stored(self, through: int) -> None:
        self._stored_through = max(self._stored_through, through)
        self._outbox.forget(self._stored_through)
        if not self._backlog and self._written_through > self._released_through:
            self._save.set()
        if self._outbox.last_number == self._stored_through:
            self._spilling = False
            self._idle.set()
        self._note_safe()

    async def _save_forever(self) -> None:
        while True:
            await self._save.wait()
            self._save.clear()
            try:
                while await self._save_next():
                    pass
            except OSError:  # the spool has logged it
                self._outbox.writing_through = 0
                await asyncio.sleep(RETRY_S)
                self._save.set()

    async def _save_next(self) -> bool:
        """Write the next messages, or delete from disk what Kafka has; False when the disk is up to date."""
        done_through = max(self._written_through, self._stored_through)
        unwritten = self._outbox.after(done_through) if self._spilling else []
        if unwritten:
            self._outbox.writing_through = unwritten[-1].number
            partition = self._producer.partition(self._topic, self._key)
            run, kept = await self._disk.run(self._spool.append, self._suffix, unwritten, partition)
            through = run[-1].number
            lost = 0 if kept else sum(number > self._outbox.sending_through for number, _ in run)
            self._outbox.writing_through = 0
            self._written_through = through
            self._outbox.forget(through)
            self._filled.set()
            if lost:
                await self._disk.run(self._spool.count_refused, self._suffix, lost)
            self._note_safe()
            return True
        if self._backlog or self._released_through >= min(self._written_through, self._stored_through):
            return False
        through = self._stored_through
        await self._disk.run(self._spool.delete_through, self._suffix, through)
        self._released_through = through
        return True

    def _note_safe(self) -> None:
        if not self._outbox:
            self._safe.set()
