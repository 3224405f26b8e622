"""Rollup: finds the coarse windows whose finer rows changed, and recomputes them.

Rows are absolute, so it does not matter how often, when and by how many processes a window is computed: the newest
computation wins, and it saw everything that the others saw. Late rows and replays are just changed windows. All times
are ClickHouse's own, because `stored_at` is. No loop and no clock belong here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from endpoint_analytics.pipeline.store import rollup_sql as sql
from endpoint_analytics.pipeline.store.errors import (
    SchemaMissingError,
    StoreError,
    StoreLoginError,
    StoreUnreachableError,
)
from endpoint_analytics.pipeline.store.outcome_sql import roll
from endpoint_analytics.pipeline.store.rollup_levels import (
    DAY_S,
    HOUR,
    MINUTE,
    TABLES,
    TEN_SECONDS,
    TTLS,
    Retention,
    RollupLevel,
    RollupProgress,
    parse_ttls,
    stored_retention,
)
from endpoint_analytics.pipeline.store.shared_cache import SharedCache

SETTLE_S = 15
"""How long after its end a window is first rolled up, to wait for its rows; later rows cause another rollup."""
SLACK_S = 10
"""A computation may miss rows stored less than this before it began."""
EARLY_S = 60
"""How far the clocks of replicas may be ahead."""
BEHIND_S = 600
"""A level further behind than this must catch up before a coarser one is made from it."""
TOUCHED_AT_ONCE = 5_000
PROGRESS_FOR_S = 5.0
"""How long rollup progress is cached; with an older value, more is read from finer levels."""
WINDOWS_AT_ONCE = {MINUTE: 60, HOUR: 24}
"""Windows per statement, which then reads at most an hour of 10 s windows, or a day of minutes, of an endpoint."""
OF_ENDPOINTS_AT_ONCE, ROWS_AT_ONCE = 100, 50_000
"""Windows of a statement, each endpoint's counted, and their changed rows, if it has several endpoints.

Each statement costs as much as 1,000 rows. One late row makes all rows of its window be read: changed rows alone are no
limit.
"""


class Executor(Protocol):
    """Runs queries and statements with server-side parameters."""

    async def read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Return the rows; raises StoreError."""
        ...

    async def execute(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """Run a statement; raises StoreError."""
        ...


@dataclass(frozen=True, slots=True)
class RollupTarget:
    """A table of rolled-up windows and its source."""

    table: str
    source: str
    level: RollupLevel
    source_level: RollupLevel
    roll: str


TARGETS = (
    RollupTarget(MINUTE.requests, TEN_SECONDS.requests, MINUTE, TEN_SECONDS, sql.REQUESTS_OF_WINDOWS),
    RollupTarget(
        MINUTE.hardware,
        TEN_SECONDS.hardware,
        MINUTE,
        TEN_SECONDS,
        sql.samples_of_windows(TEN_SECONDS.hardware, MINUTE.hardware),
    ),
    RollupTarget(
        MINUTE.engine,
        TEN_SECONDS.engine,
        MINUTE,
        TEN_SECONDS,
        sql.samples_of_windows(TEN_SECONDS.engine, MINUTE.engine),
    ),
    RollupTarget(
        MINUTE.outcomes,
        TEN_SECONDS.outcomes,
        MINUTE,
        TEN_SECONDS,
        roll(TEN_SECONDS.outcomes, MINUTE.outcomes),
    ),
    # Hours are rolled up from minutes. Late rows change a minute, and the minute's new row marks its hour as changed,
    # through the `stored_at` of the minutes.
    RollupTarget(HOUR.requests, MINUTE.requests, HOUR, MINUTE, sql.REQUESTS_OF_MINUTES),
    RollupTarget(
        HOUR.hardware, MINUTE.hardware, HOUR, MINUTE, sql.samples_of_minutes(MINUTE.hardware, HOUR.hardware)
    ),
    RollupTarget(
        HOUR.engine, MINUTE.engine, HOUR, MINUTE, sql.samples_of_minutes(MINUTE.engine, HOUR.engine)
    ),
    RollupTarget(HOUR.outcomes, MINUTE.outcomes, HOUR, MINUTE, roll(MINUTE.outcomes, HOUR.outcomes)),
)


@dataclass(frozen=True, slots=True)
class State:
    """How far a target is rolled up: it includes rows stored before `looked_at`, for windows up to `rolled_to_s`."""

    looked_at: datetime
    rolled_to_s: int


async def read_states(executor: Executor) -> dict[str, State]:
    """Return each target's state; targets never checked are missing."""
    rows = await executor.read(sql.STATES, {})
    return {target: State(_aware(looked_at), int(rolled_to)) for target, looked_at, rolled_to in rows}


async def read_rollup_progress(executor: Any) -> RollupProgress:
    """Return how far each level is rolled up; `executor` is anything with a `read` method."""
    ttls = await executor.read(TTLS, {"tables": TABLES})
    states = await read_states(executor)

    def rolled_to(level: RollupLevel) -> int:
        return min(states[table].rolled_to_s if table in states else 0 for table in level.tables)

    def looked_at_ms(level: RollupLevel) -> int:
        state = states.get(level.requests)
        return 0 if state is None else int(state.looked_at.timestamp() * 1000)

    minute_to = rolled_to(MINUTE)
    return RollupProgress(
        stored_retention(parse_ttls(ttls)),
        minute_to,
        min(rolled_to(HOUR), minute_to),
        looked_at_ms(MINUTE),
        looked_at_ms(HOUR),
    )


def cached_progress(executor: Any, clock: Callable[[], float]) -> Callable[[], Awaitable[RollupProgress]]:
    """Return a function that returns the progress, read at most every PROGRESS_FOR_S for all its callers."""
    cache: SharedCache[str, RollupProgress] = SharedCache(PROGRESS_FOR_S, 1, clock)

    async def progress() -> RollupProgress:
        found, _ = await cache.get("progress", lambda: read_rollup_progress(executor))
        return found

    return progress


async def roll_up(executor: Executor) -> int:
    """Check every target once, finer ones first; returns the number of windows computed."""
    rows = await executor.read(TTLS, {"tables": TABLES})
    retention = stored_retention(parse_ttls(rows))
    return sum([await look(executor, target, retention) for target in TARGETS])


async def look(executor: Executor, target: RollupTarget, retention: Retention) -> int:
    """Roll up what changed in one target since the last check, and record it once all of it is done.

    If interrupted, the old record stays: readers keep using the finer level, and the next check computes only the
    rest, because computed windows are newer than their rows.
    """
    now = _aware((await executor.read(sql.NOW, {}))[0][0])
    states = await read_states(executor)
    state, seconds = states.get(target.table), target.level.seconds
    settled_s = int(now.timestamp()) - SETTLE_S
    if target.source_level is not TEN_SECONDS:
        source_to_s = states[target.source].rolled_to_s if target.source in states else 0
        if source_to_s < settled_s - BEHIND_S:
            return 0  # its source is not there yet: check again later
        settled_s = min(settled_s, source_to_s)
    kept = timedelta(seconds=retention.days(target.source_level) * DAY_S)
    # Look back far enough to find windows that were not settled at the last check, and early ones, again.
    again = timedelta(seconds=seconds + SETTLE_S + SLACK_S + EARLY_S + 60)
    parameters = {
        "stored_from": _text((state.looked_at if state else now - kept) - again),
        # The oldest day kept may already have lost rows: its windows stay as they are.
        "keep_from": int((now - kept).timestamp()) + DAY_S,
        "seconds": seconds,
        "settled": max(settled_s, 0),
        "slack_us": SLACK_S * 1_000_000,
        "begun_us": int(now.timestamp() * 1e6),
        "limit": TOUCHED_AT_ONCE,
    }
    windows, more = 0, True
    while more:
        found = await executor.read(sql.touched(target.source, target.table), parameters)
        for statement in _statements(found, target.level):
            await _roll(executor, target, statement)
        windows += len(found)
        more = len(found) == TOUCHED_AT_ONCE
    rolled_to_s = max(settled_s // seconds * seconds, 0)
    record = {"target": target.table, "looked_at": _text(now), "rolled_to": rolled_to_s}
    await executor.execute(sql.RECORD, record)
    return windows


async def _roll(executor: Executor, target: RollupTarget, statement: dict[str, Any]) -> None:
    """Run a statement; if ClickHouse refuses it, as for its time or memory, run it for a half at a time."""
    try:
        await executor.execute(target.roll, statement)
    except (StoreUnreachableError, StoreLoginError, SchemaMissingError):
        raise
    except StoreError:
        halves = _halves(statement)
        if not halves:
            raise
        for half in halves:
            await _roll(executor, target, half)


def _halves(statement: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the statement for each half of its endpoints, or of a single one's windows; none for one window."""
    keys, windows, seconds = statement["endpoints"], statement["windows"], statement["seconds"]
    if len(keys) > 1:
        return [_statement(half, windows, seconds) for half in _halved(keys)]
    if len(windows) > 1:
        return [_statement(keys, half, seconds) for half in _halved(windows)]
    return []


def _halved(items: list[Any]) -> tuple[list[Any], list[Any]]:
    return items[: len(items) // 2], items[len(items) // 2 :]


def _statements(found: Iterable[Sequence[Any]], level: RollupLevel) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each statement: windows that lie close together, and the endpoints of all of them."""
    rows_of: defaultdict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for namespace, endpoint, window, rows in found:
        rows_of[namespace, endpoint][int(window)] = rows
    endpoints_of: defaultdict[tuple[int, ...], list[tuple[tuple[str, str], int]]] = defaultdict(list)
    span_s = WINDOWS_AT_ONCE[level] * level.seconds
    for key, rows_by_window in sorted(rows_of.items()):
        for near in _close_together(sorted(rows_by_window), span_s):
            rows = sum(rows_by_window[window] for window in near)
            endpoints_of[tuple(near)].append((key, rows))
    for windows, endpoints in endpoints_of.items():
        for keys in _together(endpoints, max(1, OF_ENDPOINTS_AT_ONCE // len(windows))):
            yield _statement(keys, windows, level.seconds)


def _statement(keys: Sequence[tuple[str, str]], windows: Sequence[int], seconds: int) -> dict[str, Any]:
    """Return the parameters of a statement for ascending windows of the endpoints."""
    return {
        "endpoints": keys,
        "seconds": seconds,
        "first": windows[0],
        "after": windows[-1] + seconds,
        "windows": list(windows),
    }


def _together(
    endpoints: Iterable[tuple[tuple[str, str], int]], at_once: int
) -> Iterator[list[tuple[str, str]]]:
    """Divide endpoints, each with its number of changed rows, into those of one statement, at most `at_once`."""
    keys, rows = list[tuple[str, str]](), 0
    for key, its_rows in endpoints:
        if keys and (len(keys) == at_once or rows + its_rows > ROWS_AT_ONCE):
            yield keys
            keys, rows = [], 0
        keys.append(key)
        rows += its_rows
    if keys:
        yield keys


def _close_together(windows: Sequence[int], span_s: int) -> list[list[int]]:
    """Return the ascending windows in groups that span at most `span_s`."""
    groups: list[list[int]] = []
    for window in windows:
        if groups and window < groups[-1][0] + span_s:
            groups[-1].append(window)
        else:
            groups.append([window])
    return groups


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
