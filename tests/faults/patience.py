"""Waiting that distinguishes slow from lost: it waits while there is progress, and otherwise reports why it failed.

Progress is measured by counts that only grow (how far each partition is stored and committed, batches, rejections).
While they grow, the pipeline is slow at worst, however loaded the machine is. If the result is wrong although all of
the Kafka log is stored, data is lost; if messages are waiting and nothing grows, the pipeline is stalled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError

Value = TypeVar("Value")

STALLED_AFTER_S = 120.0
LOST_AFTER_S = 30.0
SLOW_AFTER_S = 900.0
LOOK_S = 0.05
LOOK_FOR_PROGRESS_S = 1.0


class LostError(AssertionError):
    """All of the Kafka log is stored, but the stored data differs from what was sent."""


class SlowError(AssertionError):
    """There is still progress after longer than any machine should need."""


class StalledError(AssertionError):
    """Messages are waiting in the Kafka log, and there was no progress for long."""


@dataclass(frozen=True)
class Patience:
    """What a wait observes.

    `progress` returns counts by name that only grow; `unread` the messages of the log that are not stored, by
    partition; `evidence` lines that explain a failed wait.
    """

    progress: Callable[[], Mapping[str, int]]
    unread: Callable[[], Mapping[str, int]]
    evidence: Callable[[], list[str]]
    stalled_after_s: float = STALLED_AFTER_S
    lost_after_s: float = LOST_AFTER_S

    def wait(self, read: Callable[[], Value], holds: Callable[[Value], bool], what: str) -> Value:
        """Return the first value that satisfies `holds`; raises LostError, StalledError or SlowError."""
        best: dict[str, int] = {}
        begun = moved = time.monotonic()
        looked = seen_all = 0.0
        last: object = "nothing could be read"
        while True:
            try:
                value = read()
                if holds(value):
                    return value
                last = value
                now = time.monotonic()
                if now - looked > LOOK_FOR_PROGRESS_S:
                    looked = now
                    for name, count in self.progress().items():
                        if count > best.get(name, -1):
                            best[name], moved = count, now
            except (
                ClickHouseError,
                KafkaError,
                OSError,
            ) as error:  # a part that is away, or too slow to answer
                last, now = repr(error), time.monotonic()
            if now - moved > self.lost_after_s and now - seen_all > self.lost_after_s:
                seen_all = now
                self._fail_if_lost(what, last, now - begun, now - moved)
            if now - moved > self.stalled_after_s:
                raise StalledError(self._report(f"{what}: stalled", last, now - begun, now - moved))
            if now - begun > SLOW_AFTER_S:
                raise SlowError(self._report(f"{what}: slow", last, now - begun, now - moved))
            time.sleep(LOOK_S)

    def _fail_if_lost(self, what: str, last: object, waited_s: float, still_s: float) -> None:
        try:
            unread = self.unread()
        except Exception:  # noqa: BLE001 - Kafka or ClickHouse is away: nothing is known of the log
            return
        if not any(unread.values()):
            raise LostError(self._report(f"{what}: lost", last, waited_s, still_s))

    def _report(self, verdict: str, last: object, waited_s: float, still_s: float) -> str:
        lines = [f"{verdict}. Waited {waited_s:.0f} s; nothing has moved for {still_s:.0f} s"]
        try:
            unread = {place: count for place, count in self.unread().items() if count}
            lines.append(f"messages in the log that are not stored: {unread or 'none'}")
        except Exception as error:  # noqa: BLE001 - the report must not fail
            lines.append(f"messages in the log that are not stored: unknown ({error!r})")
        lines += self.evidence()
        shown = last if isinstance(last, list) else [last]
        lines += [f"  {item}" for item in shown[:40]]
        if len(shown) > 40:
            lines.append(f"  and {len(shown) - 40} more")
        return "\n".join(lines)
