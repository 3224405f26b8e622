"""Which level histograms are read from at which time, and in which pieces. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from endpoint_analytics.pipeline.store.rollup_levels import (
    DAY_S,
    HOUR,
    MINUTE,
    TEN_SECONDS,
    RollupLevel,
    RollupProgress,
)
from endpoint_analytics.pipeline.store.scope import Key

SETTLED_MINUTES_S, SETTLED_HOURS_S = 90, 7_200
"""Windows are read from a coarser level this long after their end: most late rows were rolled up again by then."""
LATEST_S = 3 * DAY_S
"""Hours before this are not rolled up again: an agent's message is at most 48 h late."""
FURTHEST_BEHIND_S = 3_600
"""If a level is rolled up less far, the histograms are unknown: reading so many fine rows would take too long."""
MOST_DAYS = 28
"""After so many days histograms restart at 0: what a service that starts must read is bounded."""
LATENESS_S = (300, 900)
"""Endpoints with rows that are not rolled up are read together up to this age of the oldest one."""

Replicas = Mapping[str, int]
"""Replicas of an endpoint, and when they were first seen, in seconds since 1970: no request is from before."""


class Boundaries(NamedTuple):
    """Which level is read where: hours from `start_s`, minutes from `hours_to_s`, windows from `minutes_to_s` on.

    Hours before `old_to_s` no longer change.
    """

    start_s: int
    old_to_s: int
    hours_to_s: int
    minutes_to_s: int


def boundaries(
    now_s: int, progress: RollupProgress, unrolled_windows_s: int = 0, unrolled_minutes_s: int = 0
) -> Boundaries | None:
    """Return which level is read where; None if a level is too far behind.

    The last two are the oldest windows and minutes that the coarser level does not have yet; 0 if there are none.
    """
    if min(progress.minute_to, progress.hour_to + HOUR.seconds) < now_s - FURTHEST_BEHIND_S:
        return None
    step_s = min(max(progress.retention.hour // 2, 1), MOST_DAYS) * DAY_S
    start_s = now_s // step_s * step_s
    hours_to_s = min(progress.hour_to, now_s) - SETTLED_HOURS_S
    minutes_to_s = min(progress.minute_to, now_s) - SETTLED_MINUTES_S
    if unrolled_windows_s:
        minutes_to_s = min(minutes_to_s, unrolled_windows_s)
    if unrolled_minutes_s:
        hours_to_s = min(hours_to_s, unrolled_minutes_s)
    hours_to_s = max(hours_to_s // HOUR.seconds * HOUR.seconds, start_s)
    minutes_to_s = max(minutes_to_s // MINUTE.seconds * MINUTE.seconds, hours_to_s)
    old_to_s = min(max(now_s // DAY_S * DAY_S - LATEST_S, start_s), hours_to_s)
    return Boundaries(start_s, old_to_s, hours_to_s, minutes_to_s)


class Piece(NamedTuple):
    """A range of time that is read from one level, and kept: [from_s, to_s)."""

    level: RollupLevel
    from_s: int
    to_s: int


def pieces(limits: Boundaries) -> list[Piece]:
    """Return the pieces of hours and minutes: what no longer changes as one, the rest of hours by day and of minutes by
    hour. A piece's start does not move with time, so that what is kept of it is only added to.
    """
    found = [Piece(HOUR, limits.start_s, limits.old_to_s)]
    for level, block_s, first_s, to_s in (
        (HOUR, DAY_S, limits.old_to_s, limits.hours_to_s),
        (MINUTE, HOUR.seconds, limits.hours_to_s, limits.minutes_to_s),
    ):
        inner = range(first_s // block_s * block_s + block_s, to_s, block_s)
        found += (Piece(level, *ends) for ends in pairwise((first_s, *inner, to_s)))
    return [piece for piece in found if piece.from_s < piece.to_s]


def by_lateness(
    shown: Mapping[Key, Replicas], unrolled: Mapping[Key, Mapping[str, int]], now_s: int
) -> list[tuple[tuple[int, int], dict[Key, Replicas]]]:
    """Return the endpoints in groups, each with its oldest window and minute that is not rolled up (0: none).

    One that is late by an hour does not make the others as expensive.
    """
    groups: defaultdict[tuple[int, bool], dict[Key, Replicas]] = defaultdict(dict)
    for key, replicas in shown.items():
        oldest = unrolled.get(key, {})
        windows_s = oldest.get(TEN_SECONDS.name, 0)
        lateness = bisect_left(LATENESS_S, now_s - windows_s) + 1 if windows_s else 0
        groups[lateness, MINUTE.name in oldest][key] = replicas
    return [
        (
            (
                min((unrolled[key][TEN_SECONDS.name] for key in keys), default=0) if lateness else 0,
                min(unrolled[key][MINUTE.name] for key in keys) if has_minutes else 0,
            ),
            keys,
        )
        for (lateness, has_minutes), keys in groups.items()
    ]
