"""A sender with a spool: to Kafka from memory while Kafka takes it, by way of the disk when it does not.

A message that Kafka has not taken SPILL_AFTER_S after it was handed over goes to disk, and so does each later
one, at once, until Kafka has them all: no disk is touched while Kafka is well. At any time a message is in
memory, on disk (fsynced) or in Kafka, or counted as dropped. Order is kept: what is on disk goes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping

from endpoint_analytics.agents.delivery.backlog import GROUP_BYTES, GROUP_MESSAGES, pause_s, send_group
from endpoint_analytics.agents.delivery.producer import Producer
from endpoint_analytics.agents.spool.disk import DiskThread
from endpoint_analytics.agents.spool.log import Numbered
from endpoint_analytics.agents.spool.outbox import SpoolOutbox, first_group
from endpoint_analytics.agents.spool.spool import Spool

SPILL_AFTER_S = 0.2
RETRY_S = 1.0
"""After the disk refused a write."""


class SpooledTopicSender:
    """To `topic`, under `key`, with the disk behind it. All calls come from the agent's loop."""

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
        self._backlog: list[Numbered] = []  # read from disk, not in Kafka yet
        self._taken_through = 0  # all up to this number is in Kafka, or counted as dropped
        self._written_through = 0
        self._told_through = 0
        self._spilling = False
        self._timer: asyncio.TimerHandle | None = None
        self._filled, self._save, self._idle, self._safe = (asyncio.Event() for _ in range(4))
        self._idle.set()
        self._safe.set()

    @property
    def waiting(self) -> int:
        """Messages that Kafka has not taken, in memory and on disk."""
        return len(self._outbox) + self._spool.figures.waiting.get(self._suffix, 0)

    @property
    def dropped(self) -> Mapping[str, int]:
        """What was given up, by reason; `adopted_...` are messages of dead processes."""
        return {**self._outbox.dropped, **self._spool.figures.dropped.get(self._suffix, {})}

    def put(self, message: bytes) -> None:
        """Hand over a message; it is sent after those handed over before."""
        number = self._outbox.put(message)
        self._idle.clear()
        self._safe.clear()
        self._filled.set()
        if self._spilling:
            self._save.set()
        elif self._timer is None:
            self._expect(number)

    def tasks(self) -> tuple[Coroutine[None, None, None], ...]:
        """Return what must run, for ever: it ends by being cancelled."""
        return self._send_for_ever(), self._save_for_ever()

    async def drained(self) -> None:
        """Return when everything that was handed over is stored (or counted as dropped)."""
        await self._idle.wait()

    async def saved(self) -> None:
        """Bring the disk up to date: what Kafka has not taken is there, and nothing else."""
        if not self._idle.is_set():
            self._spill()
            await self._safe.wait()
        if self._written_through or self._outbox.writing_through:
            await self._disk.run(self._spool.taken, self._suffix, self._taken_through)

    def _expect(self, number: int) -> None:
        """Kafka should have taken the message `number` soon."""

        def look() -> None:
            self._timer = None
            if self._taken_through < number:
                self._spill()
            elif self._taken_through < self._outbox.last_number:
                self._expect(self._outbox.last_number)

        self._timer = asyncio.get_running_loop().call_later(SPILL_AFTER_S, look)

    def _spill(self) -> None:
        self._spilling = True
        self._save.set()

    async def _send_for_ever(self) -> None:
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
        if not self._backlog and self._written_through > self._taken_through:
            through = self._written_through
            try:
                read = await self._disk.run(self._spool.read, self._suffix, self._taken_through)
            except OSError:
                await asyncio.sleep(RETRY_S)
                return True
            if read is None:  # nothing up to there is left to send
                self._took(through)
            self._backlog = read or []
            return True
        if self._backlog:
            group = first_group(self._backlog, GROUP_MESSAGES, GROUP_BYTES)
            await self._send(group)
            self._backlog = self._backlog[len(group) :]
            self._took(group[-1].number)
            await asyncio.sleep(pause_s(len(group), sum(len(message) for _, message in group)))
            return True
        group = self._outbox.group_after(self._taken_through, GROUP_MESSAGES, GROUP_BYTES)
        if not group:
            self._took(self._outbox.last_number)  # what is neither here nor on disk was dropped
            return False
        self._outbox.sending_through = group[-1].number
        await self._send(group)
        self._took(group[-1].number)
        return True

    async def _send(self, group: list[Numbered]) -> None:
        lost = await send_group(
            self._producer, self._topic, [(self._key, message) for _, message in group], self._outbox
        )
        self.sent += len(group) - lost

    def _took(self, through: int) -> None:
        self._taken_through = max(self._taken_through, through)
        self._outbox.forget(self._taken_through)
        if not self._backlog and self._written_through > self._told_through:
            self._save.set()
        if self._outbox.last_number == self._taken_through:
            self._spilling = False
            self._idle.set()
        self._note_safe()

    async def _save_for_ever(self) -> None:
        while True:
            await self._save.wait()
            self._save.clear()
            try:
                while await self._save_next():
                    pass
            except OSError:  # the spool has told it
                self._outbox.writing_through = 0
                await asyncio.sleep(RETRY_S)
                self._save.set()

    async def _save_next(self) -> bool:
        """Write the next messages, or remove from disk what Kafka has; False when the disk is up to date."""
        done_through = max(self._written_through, self._taken_through)
        unwritten = self._outbox.after(done_through) if self._spilling else []
        if unwritten:
            self._outbox.writing_through = unwritten[-1].number
            run, kept = await self._disk.run(self._spool.append, self._suffix, unwritten)
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
        if self._backlog or self._told_through >= min(self._written_through, self._taken_through):
            return False
        through = self._taken_through
        await self._disk.run(self._spool.taken, self._suffix, through)
        self._told_through = through
        return True

    def _note_safe(self) -> None:
        if not self._outbox:
            self._safe.set()
