"""The spool of one agent: its own spool logs and those adopted from dead processes, under one size limit.

All calls come from the disk thread; any thread may read `figures`. The topic senders take care of order and numbers.
Nothing here talks to Kafka. A dead process's log is read as it is and never written.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from endpoint_analytics.agents.spool.claim import Claim, claim, claim_left
from endpoint_analytics.agents.spool.counters import SpoolCounters, SpoolTally
from endpoint_analytics.agents.spool.frame import SpoolRecord, frame_bytes
from endpoint_analytics.agents.spool.part import SpoolPart, open_part
from endpoint_analytics.agents.spool.segments import Numbered, SpoolLog

logger = logging.getLogger("endpoint_analytics")

LARGEST_SEGMENT_BYTES = 1024 * 1024
SEGMENTS = 16
"""The size limit divided by this is the segment size: dropping the oldest segment loses at most this fraction."""


class Appended(NamedTuple):
    """The messages that were processed, and whether they are on disk; if not, the size limit did not allow it."""

    run: list[Numbered]
    kept: bool


class Spool:
    """Stores messages of the boot `boot_id`, with Kafka key `key`, under `base`; at most `cap_bytes` in total.

    At the limit it drops the oldest segment, or with `drop_newest` the message that does not fit. `sending_through`
    returns the number up to which a topic's messages are being, or were, sent from memory: these are not dropped.
    """

    def __init__(
        self,
        base: Path,
        boot_id: str,
        topic_prefix: str,
        key: bytes,
        cap_bytes: int,
        *,
        drop_newest: bool,
        sending_through: Callable[[str], int] | None = None,
    ) -> None:
        self.figures = SpoolCounters()
        self._base = base
        self._name = f"{boot_id}@{topic_prefix}"
        self._topic_prefix = topic_prefix
        self._key = key
        self._cap_bytes = cap_bytes
        self._drop_newest = drop_newest
        self._sending_through = sending_through or _none
        self._segment_bytes = min(LARGEST_SEGMENT_BYTES, cap_bytes // SEGMENTS)
        self._own: SpoolPart | None = None
        self._adopted: list[SpoolPart] = []
        self._tally = SpoolTally(base)

    def prepare(self) -> None:
        """Create the directory; logs at once if it cannot be used."""
        try:
            self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self._base, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError("it is not writable")
        except OSError as error:
            self._tally.refuse(error)
            self._publish()

    def append(self, topic: str, messages: Sequence[Numbered], partition: int | None = None) -> Appended:
        """Write the first messages to disk, as many as have consecutive numbers and fit a segment.

        `partition` is the one that Kafka has this boot's messages in, None if it has none yet.

        Messages that the size limit does not allow are not kept; the caller counts them with `count_refused`, because
        some may be on their way to Kafka. Raises OSError if the write fails.
        """
        try:
            if self._own is None:
                self._own = open_part(_claim_own(self._base / self._name), self._segment_bytes)
            run = first_run(messages, self._segment_bytes)
            size_bytes = sum(frame_bytes(topic, self._key, message) for _, message in run)
            kept = self._free_space(size_bytes)
            if kept:
                self._own.logs[topic].append(self._key, run, partition)
        except OSError as error:
            self._tally.refuse(error)
            self._publish()
            raise
        self._tally.accept()
        self._publish()
        return Appended(run, kept)

    def count_refused(self, topic: str, records: int) -> None:
        """Count records that the size limit did not allow as dropped."""
        self._tally.count_dropped(topic, "spool_full", records)
        self._publish()

    def read(self, topic: str, stored_through: int) -> list[Numbered] | None:
        """Return the messages of the oldest unread segment, None if there is none.

        Kafka has the messages up to number `stored_through`.
        """
        if self._own is None:
            return None
        log = self._own.logs[topic]
        log.delete_through(stored_through)
        records = self._read(log, "spool_damaged")
        self._publish()
        return None if records is None else [Numbered(number, record.message) for number, record in records]

    def delete_through(self, topic: str, through: int) -> None:
        """Kafka has the messages up to number `through`: delete them from disk."""
        if self._own is not None:
            self._own.logs[topic].delete_through(through)
            self._publish()

    def read_adopted(self, topic: str) -> list[SpoolRecord] | None:
        """Return records that a dead process left, oldest first; None if there are none now."""
        found = self._next_adopted(topic)
        if found is None:
            self._adopt()
            found = self._next_adopted(topic)
        self._publish()
        return found

    def delete_adopted(self, topic: str) -> None:
        """Kafka has everything that `read_adopted` returned for the topic: delete it from disk."""
        for part in self._adopted:
            part.logs[topic].delete_all_read()
        self._forget_empty()
        self._publish()

    def close(self) -> None:
        """Release everything; what Kafka does not have stays for the next process."""
        for part in self._parts():
            part.close()
        self._adopted, self._own = [], None

    def _parts(self) -> list[SpoolPart]:
        """Return all parts, adopted ones first."""
        return [*self._adopted, *([self._own] if self._own else [])]

    def _adopt(self) -> None:
        for claimed in claim_left(self._base, self._topic_prefix):
            part = open_part(claimed, self._segment_bytes)
            if not part.is_empty:
                logger.info("sending messages that an earlier process left in %s", claimed.directory)
            self._adopted.append(part)
        self._forget_empty()

    def _next_adopted(self, topic: str) -> list[SpoolRecord] | None:
        for part in self._adopted:
            while (records := self._read(part.logs[topic], "adopted_damaged")) is not None:
                if records:
                    return [record for _, record in records]
                part.logs[topic].delete_all_read()
        self._forget_empty()
        return None

    def _read(self, log: SpoolLog, reason: str) -> list[tuple[int, SpoolRecord]] | None:
        before = log.damaged
        records = log.read()
        self._tally.count_damaged(log.topic, reason, log.damaged - before)
        return records

    def _free_space(self, size_bytes: int) -> bool:
        """Drop segments to make space for `size_bytes` more; False if they still do not fit."""
        if size_bytes > self._cap_bytes:
            return False
        excess_bytes = sum(part.size_bytes for part in self._parts()) + size_bytes - self._cap_bytes
        if excess_bytes > 0 and self._drop_newest:
            return False
        for part in self._parts():
            own = part is self._own
            sending_through = self._sending_through if own else _none
            while excess_bytes > 0 and (oldest := part.oldest(sending_through)) is not None:
                log, segment = oldest
                excess_bytes -= segment.size_bytes
                reason = "spool_full" if own else "adopted_spool_full"
                self._tally.count_dropped(log.topic, reason, log.drop(segment))
        self._forget_empty()
        return excess_bytes <= 0

    def _forget_empty(self) -> None:
        for part in [part for part in self._adopted if part.is_empty]:
            part.close()
            self._adopted.remove(part)

    def _publish(self) -> None:
        own, tally = self._own, self._tally
        self.figures = SpoolCounters(
            waiting=own.waiting if own else {},
            bytes=own.size_bytes if own else 0,
            adopted_bytes=sum(part.size_bytes for part in self._adopted),
            damaged=tally.damaged,
            dropped={topic: dict(reasons) for topic, reasons in tally.dropped.items()},
            error=tally.error,
        )


def first_run(messages: Sequence[Numbered], max_bytes: int) -> list[Numbered]:
    """Return the first messages, as long as their numbers are consecutive and they fit; at least one."""
    run = [messages[0]]
    total = len(messages[0].message)
    for item in messages[1:]:
        total += len(item.message)
        if item.number != run[-1].number + 1 or total > max_bytes:
            break
        run.append(item)
    return run


def _none(_: str) -> int:
    return 0


def _claim_own(directory: Path) -> Claim:
    claimed = claim(directory)
    if claimed is None:
        raise BlockingIOError(f"another process holds {directory}")
    return claimed
