"""The spool of one agent: its own logs and those it took over from dead processes, under one cap.

All calls come from the disk thread; `figures` may be read by any. Order and numbers are the lanes' matter,
Kafka is nobody's here. A log of a dead process is read as it is, and never written.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from endpoint_analytics.agents.spool_claim import Claim, claim, claim_left
from endpoint_analytics.agents.spool_frame import Record, frame_bytes
from endpoint_analytics.agents.spool_log import Numbered, SpoolLog
from endpoint_analytics.schemas.topics import HARDWARE, REPLICAS, REQUESTS

logger = logging.getLogger("endpoint_analytics")

TOPIC_SUFFIXES = (REPLICAS.suffix, REQUESTS.suffix, HARDWARE.suffix)
LARGEST_SEGMENT_BYTES = 1024 * 1024
SEGMENTS = 16
"""A cap is at least so many segments: dropping the oldest drops at most so large a part."""


@dataclass(frozen=True, slots=True)
class SpoolFigures:
    """What is on disk: own records that wait, by topic suffix, and bytes; bytes taken over from dead processes;
    drops by topic suffix and reason; records lost to damage, which are among the drops; the disk's last error,
    while it lasts.
    """

    waiting: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    adopted_bytes: int = 0
    damaged: int = 0
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    error: str = ""

    @property
    def records(self) -> int:
        """Own records that wait for Kafka."""
        return sum(self.waiting.values())


@dataclass(frozen=True, slots=True)
class _Part:
    """A claimed sub-folder and its logs, by topic suffix."""

    claim: Claim
    logs: dict[str, SpoolLog]

    @property
    def size_bytes(self) -> int:
        return sum(log.size_bytes for log in self.logs.values())

    @property
    def is_empty(self) -> bool:
        return not any(log.segments for log in self.logs.values())


class Spool:
    """In `base`, for the boot `boot_id` whose messages go to Kafka under `key`; at most `cap_bytes` in all.

    At the cap the oldest segment goes, or with `drop_newest` the message that does not fit.
    """

    def __init__(
        self, base: Path, boot_id: str, topic_prefix: str, key: bytes, cap_bytes: int, *, drop_newest: bool
    ) -> None:
        self.figures = SpoolFigures()
        self._base = base
        self._name = f"{boot_id}@{topic_prefix}"
        self._topic_prefix = topic_prefix
        self._key = key
        self._cap_bytes = cap_bytes
        self._drop_newest = drop_newest
        self._segment_bytes = min(LARGEST_SEGMENT_BYTES, cap_bytes // SEGMENTS)
        self._own: _Part | None = None
        self._adopted: list[_Part] = []
        self._dropped: dict[str, dict[str, int]] = {}
        self._damaged = 0
        self._error = ""
        self._told_damage = False

    def prepare(self) -> None:
        """Make the folder, and say so at once when it cannot be used."""
        try:
            self._base.mkdir(parents=True, exist_ok=True)
            if not os.access(self._base, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError("it cannot be written")
        except OSError as error:
            self._complain(error)

    def append(self, topic: str, messages: Sequence[Numbered]) -> int:
        """Put the first of the messages on disk, as many as belong together, and return the last's number.

        What the cap does not allow is counted as dropped. Raises OSError when the disk does not take them.
        """
        try:
            if self._own is None:
                self._own = self._part(_claim_own(self._base / self._name))
            run = first_run(messages, self._segment_bytes)
            size_bytes = sum(frame_bytes(topic, self._key, message) for _, message in run)
            if self._make_room(size_bytes):
                self._own.logs[topic].append(self._key, run)
            else:
                self._count(topic, "spool_full", len(run))
        except OSError as error:
            self._complain(error)
            raise
        if self._error:
            self._error = ""
            logger.info("the spool in %s takes messages again", self._base)
        self._publish()
        return run[-1].number

    def read(self, topic: str, taken_through: int) -> list[Numbered] | None:
        """Return the messages of the oldest segment that was not read yet, None when there is none.

        Kafka has the messages up to the number `taken_through`.
        """
        if self._own is None:
            return None
        log = self._own.logs[topic]
        log.taken(taken_through)
        records = self._read(log, "spool_damaged")
        self._publish()
        return None if records is None else [Numbered(number, record.message) for number, record in records]

    def taken(self, topic: str, through: int) -> None:
        """Kafka has the messages up to the number `through`: they go from the disk."""
        if self._own is not None:
            self._own.logs[topic].taken(through)
            self._publish()

    def read_adopted(self, topic: str) -> list[Record] | None:
        """Return records that a dead process left, oldest first, None when there are none now."""
        found = self._next_adopted(topic)
        if found is None:
            self._adopt()
            found = self._next_adopted(topic)
        self._publish()
        return found

    def adopted_taken(self, topic: str) -> None:
        """Kafka has all that `read_adopted` returned for the topic: it goes from the disk."""
        for part in self._adopted:
            part.logs[topic].taken_all_read()
        self._forget_empty()
        self._publish()

    def close(self) -> None:
        """Let go of everything; what Kafka does not have stays, for the next process."""
        for part in [*self._adopted, *([self._own] if self._own else [])]:
            for log in part.logs.values():
                log.close()
            if part.is_empty:
                part.claim.remove()
            else:
                part.claim.release()
        self._adopted, self._own = [], None

    def _part(self, claimed: Claim) -> _Part:
        logs = {topic: SpoolLog(claimed.folder, topic, self._segment_bytes) for topic in TOPIC_SUFFIXES}
        return _Part(claimed, logs)

    def _adopt(self) -> None:
        for claimed in claim_left(self._base, self._topic_prefix):
            part = self._part(claimed)
            if not part.is_empty:
                logger.info("sending what an earlier process left in %s", claimed.folder)
            self._adopted.append(part)
        self._forget_empty()

    def _next_adopted(self, topic: str) -> list[Record] | None:
        for part in self._adopted:
            while (records := self._read(part.logs[topic], "adopted_damaged")) is not None:
                if records:
                    return [record for _, record in records]
                part.logs[topic].taken_all_read()
        self._forget_empty()
        return None

    def _read(self, log: SpoolLog, reason: str) -> list[tuple[int, Record]] | None:
        before = log.damaged
        records = log.read()
        lost = log.damaged - before
        if lost:
            self._damaged += lost
            self._count(log.topic, reason, lost)
            if not self._told_damage:
                self._told_damage = True
                logger.warning(
                    "a file of the spool is damaged; what was in it is counted as lost: %s", log.folder
                )
        return records

    def _make_room(self, size_bytes: int) -> bool:
        if size_bytes > self._cap_bytes:
            return False
        excess_bytes = self._size_bytes() + size_bytes - self._cap_bytes
        if excess_bytes > 0 and self._drop_newest:
            return False
        for log, reason in self._oldest() if excess_bytes > 0 else ():
            before = log.size_bytes
            lost = log.drop_oldest()
            if lost:
                self._count(log.topic, reason, lost)
            excess_bytes -= before - log.size_bytes
            if excess_bytes <= 0:
                break
        self._forget_empty()
        return True

    def _oldest(self) -> Iterator[tuple[SpoolLog, str]]:
        """Yield the log with the oldest segment, again and again while there are segments."""
        for part in self._adopted:
            for log in part.logs.values():
                while log.segments:
                    yield log, "adopted_spool_full"
        own = list(self._own.logs.values()) if self._own else []
        while filled := [log for log in own if log.segments]:
            yield min(filled, key=lambda log: log.segments[0].born), "spool_full"

    def _size_bytes(self) -> int:
        parts = [*self._adopted, *([self._own] if self._own else [])]
        return sum(part.size_bytes for part in parts)

    def _forget_empty(self) -> None:
        for part in [part for part in self._adopted if part.is_empty]:
            part.claim.remove()
            self._adopted.remove(part)

    def _count(self, topic: str, reason: str, number: int) -> None:
        reasons = self._dropped.setdefault(topic, {})
        reasons[reason] = reasons.get(reason, 0) + number

    def _complain(self, error: OSError) -> None:
        if not self._error:
            logger.warning("the spool in %s takes no messages, they stay in memory: %s", self._base, error)
        self._error = str(error)
        self._publish()

    def _publish(self) -> None:
        own = self._own.logs if self._own else {}
        self.figures = SpoolFigures(
            waiting={topic: number for topic, log in own.items() if (number := log.waiting)},
            bytes=sum(log.size_bytes for log in own.values()),
            adopted_bytes=sum(part.size_bytes for part in self._adopted),
            damaged=self._damaged,
            dropped={topic: dict(reasons) for topic, reasons in self._dropped.items()},
            error=self._error,
        )


def first_run(messages: Sequence[Numbered], max_bytes: int) -> list[Numbered]:
    """Return the first messages while their numbers are consecutive and they fit; at least one."""
    run = [messages[0]]
    total = len(messages[0].message)
    for item in messages[1:]:
        total += len(item.message)
        if item.number != run[-1].number + 1 or total > max_bytes:
            break
        run.append(item)
    return run


def _claim_own(folder: Path) -> Claim:
    claimed = claim(folder)
    if claimed is None:
        raise BlockingIOError(f"another process holds {folder}")
    return claimed
