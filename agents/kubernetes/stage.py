"""A stage of a replica's life, and its time: Kubernetes's whole seconds, made unique. Pure.

Times within one second are ordered by microseconds: ten per restart, and within those by lifecycle step. So a stage has
the same time whichever version of the pod it is read from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum

from endpoint_analytics.schemas.limits import MAX_REASON_LENGTH
from endpoint_analytics.schemas.replicas import State

_MOST_RESTARTS = 99_999


class Step(IntEnum):
    """The steps of a pod's life, in the order in which they follow each other within one second."""

    CREATED = 0
    UNSCHEDULED = 1
    ACKNOWLEDGED = 2
    DOWNLOAD_STARTED = 3
    DOWNLOAD_ENDED = 4
    STARTED = 5
    READY = 6
    UNREADY = 7
    DELETED = 8
    ENDED = 9


@dataclass(frozen=True, slots=True)
class Stage:
    """A state from `at_us`. `timed`: whether Kubernetes gives that time; if not, it is when the status was written."""

    at_us: int
    state: State
    reason: str = ""
    timed: bool = True


def moment_us(moment: datetime | None, run: int, step: Step) -> int:
    """Return microseconds since 1970; 0, which sorts first, for a missing time."""
    return 0 if moment is None else second_us(moment) + within_second_us(run, step)


def within_second_us(run: int, step: Step) -> int:
    """Return a step's offset within its second: `run` is the number of container restarts so far."""
    return min(run, _MOST_RESTARTS) * len(Step) + step


def second_us(moment: datetime) -> int:
    """Return the start of its second in microseconds since 1970."""
    return int(moment.timestamp()) * 1_000_000


def in_order(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Return the stages with strictly increasing times, whatever the machines' clocks said."""
    ordered: list[Stage] = []
    for stage in stages:
        least_us = ordered[-1].at_us + 1 if ordered else 0
        ordered.append(replace(stage, at_us=max(stage.at_us, least_us)))
    return tuple(ordered)


def reason_text(reason: str, message: str) -> str:
    """Return both on one line, truncated to a message's limit."""
    return ": ".join(part for part in (reason, " ".join(message.split())) if part)[:MAX_REASON_LENGTH]
