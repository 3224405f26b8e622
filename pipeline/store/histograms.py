"""Cumulative duration histograms of replicas, from the sketches of all windows since a fixed start.

Counts are read from hours, minutes and 10 s windows, each where it is settled, and add up to the same from whichever
level. Where one level ends and the next begins follows from what is stored, so any number of query services show the
same. What is read of hours and minutes is kept until it is rolled up again; a scrape reads only the last minutes.

A histogram never shrinks while its replica lives. It restarts at 0 every four weeks (or half of the retention of hours,
if that is shorter), as readers of counters expect.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from endpoint_analytics.pipeline.store.durations import (
    BUCKET,
    COUNT,
    NO_DURATIONS,
    PHASES,
    Durations,
    Phase,
    ReplicaHistograms,
    merge,
)
from endpoint_analytics.pipeline.store.endpoint_metrics import HeardFrom
from endpoint_analytics.pipeline.store.histogram_pieces import (
    Boundaries,
    Piece,
    Replicas,
    boundaries,
    by_lateness,
    pieces,
)
from endpoint_analytics.pipeline.store.histogram_sql import NAMED, NOT_ROLLED_UP, durations_sql, revisions_sql
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.reader import BinaryReader, Row
from endpoint_analytics.pipeline.store.rollup_levels import (
    HOUR,
    MINUTE,
    TEN_SECONDS,
    RollupLevel,
    RollupProgress,
)
from endpoint_analytics.pipeline.store.row_binary import RowBinary
from endpoint_analytics.pipeline.store.scope import Key, Scope

MOST_RETURNED = 200
"""Replicas that came back are read by name, up to so many; for more, all of their endpoint is read again."""
ROWS_AT_ONCE = 50_000
"""Rows that one query reads, about half a second of one core."""
STEPS_AT_ONCE = 8
"""Queries of a level in one scrape for what is not kept yet. If more are needed, the next scrapes continue."""
_SLACK_S = 10
"""A rollup may have missed rows that were stored less than this before it looked."""
_FOREVER = 2**32 - 1


Revision = tuple[int, int]
"""The newest rollup, and the number of windows."""
_NO_ROWS: Revision = (0, 0)
_Found = dict[tuple[str, Phase], Durations]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was read of a piece of one endpoint, before `to_s`, as of a revision; None if nothing was."""

    to_s: int
    revision: Revision | None = None
    replicas: Replicas = field(default_factory=dict)
    found: _Found = field(default_factory=dict)

    def lacking(self, replicas: Replicas) -> list[str]:
        """Return the replicas that may have requests in it that were not read."""
        return [
            replica
            for replica, first_s in replicas.items()
            if first_s < self.to_s and first_s < self.replicas.get(replica, _FOREVER)
        ]

    def with_replicas(self, names: Collection[str], replicas: Replicas, found: _Found) -> _Kept:
        """Return it with what was found of these replicas, which it lacked."""
        return replace(
            self,
            replicas={**self.replicas, **{name: replicas[name] for name in names}},
            found={
                **{of: durations for of, durations in self.found.items() if of[0] not in names},
                **{of: merge([durations]) for of, durations in found.items() if of[0] in names},
            },
        )

    def extended(self, to_s: int, revision: Revision, found: _Found, replicas: Replicas) -> _Kept:
        """Return it with what was found between its end and `to_s`, for these replicas only."""
        return _Kept(
            to_s,
            revision,
            replicas,
            {
                of: merge((self.found.get(of, NO_DURATIONS), found.get(of, NO_DURATIONS)))
                for of in self.found.keys() | found.keys()
                if of[0] in replicas
            },
        )


@dataclass(slots=True)
class _Endpoint:
    """What is kept of one endpoint, by level and start of the piece; and its sum, until a part of it changes."""

    kept: dict[tuple[str, int], _Kept] = field(default_factory=dict)
    total: _Found | None = None


@dataclass(frozen=True, slots=True)
class NewestWindows:
    """The first part of a reading: the last minutes' windows from `limits` on; None if histograms are unknown."""

    scope: Scope
    heard_from: HeardFrom
    now_s: int
    progress: RollupProgress
    limits: Boundaries | None
    not_rolled_up: Sequence[Row]
    durations: Mapping[tuple[Key, int], _Found]


class HistogramReader:
    """Reads histograms, and keeps what is settled, for at most `endpoints` endpoints."""

    def __init__(self, reader: BinaryReader, endpoints: int) -> None:
        self._reader = reader
        self._bound = endpoints
        self._endpoints: OrderedDict[Key, _Endpoint] = OrderedDict()

    async def begin(
        self, scope: Scope, heard_from: HeardFrom, now_s: int, progress: RollupProgress
    ) -> NewestWindows:
        """Read what does not depend on which replicas are shown: the last minutes; raises StoreError."""
        limits = boundaries(now_s, progress)
        if limits is None:
            return NewestWindows(scope, heard_from, now_s, progress, None, (), {})
        looked_at = {
            "minutes_looked_at": progress.minutes_looked_at_ms - _SLACK_S * 1000,
            "hours_looked_at": progress.hours_looked_at_ms - _SLACK_S * 1000,
        }
        newest = Piece(TEN_SECONDS, limits.minutes_to_s, _FOREVER)
        async with query_group() as group:
            rows = group.create_task(
                self._reader.read(scope.sql(NOT_ROLLED_UP), scope.parameters | looked_at)
            )
            found = group.create_task(_read_durations(self._reader, TEN_SECONDS, [newest], scope, heard_from))
        return NewestWindows(scope, heard_from, now_s, progress, limits, rows.result(), found.result())

    async def read(
        self, shown: Mapping[Key, Replicas], newest: NewestWindows
    ) -> dict[Key, dict[str, ReplicaHistograms]]:
        """Return the histograms of the shown replicas; endpoints whose histograms are unknown are missing.

        Raises StoreError.
        """
        shown = {key: replicas for key, replicas in shown.items() if replicas}
        if not shown or newest.limits is None:
            return {}
        # What is kept of all endpoints of a namespace must not be dropped for one of them.
        self._bound = max(self._bound, len(shown))
        found: dict[Key, dict[str, ReplicaHistograms]] = {}
        groups = by_lateness(shown, _oldest(newest.not_rolled_up, shown.keys()), newest.now_s)
        for (windows_s, minutes_s), keys in groups:
            part = newest.scope.of(keys) if len(groups) > 1 else newest.scope
            limits = boundaries(newest.now_s, newest.progress, windows_s, minutes_s) or newest.limits
            found |= await self._read_group(part, keys, newest, limits)
        return found

    async def _read_group(
        self, scope: Scope, shown: Mapping[Key, Replicas], newest: NewestWindows, limits: Boundaries
    ) -> dict[Key, dict[str, ReplicaHistograms]]:
        """Read endpoints with the same boundaries. What is kept is copied before and stored after, since scrapes of one
        endpoint and of its namespace may run at the same time.
        """
        endpoints = {key: _copy(self._endpoints.get(key)) for key in shown}
        try:
            return await _Reading(self._reader, scope, shown, newest, limits, endpoints).read()
        finally:
            for key, endpoint in endpoints.items():
                self._endpoints[key] = endpoint
                self._endpoints.move_to_end(key)
            while len(self._endpoints) > self._bound:
                self._endpoints.popitem(last=False)


def _copy(endpoint: _Endpoint | None) -> _Endpoint:
    return _Endpoint() if endpoint is None else _Endpoint(dict(endpoint.kept), endpoint.total)


def _oldest(rows: Iterable[Row], keys: Iterable[Key]) -> dict[Key, dict[str, int]]:
    """Return, for the endpoints that have any, the oldest row of each level that is not rolled up."""
    found: defaultdict[Key, dict[str, int]] = defaultdict(dict)
    known = set(keys)
    for namespace, endpoint, level, oldest_s in rows:
        key = Key(namespace, endpoint)
        if key in known:
            found[key][level] = int(oldest_s)
    return found


class _Step(NamedTuple):
    """What one query reads of a piece: from where it is kept to, for the endpoints that are kept up to there."""

    piece: Piece
    kept_s: int
    to_s: int
    keys: list[Key]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One reading of endpoints that have the same boundaries."""

    reader: BinaryReader
    scope: Scope
    shown: Mapping[Key, Replicas]
    newest: NewestWindows
    limits: Boundaries
    endpoints: dict[Key, _Endpoint]

    async def read(self) -> dict[Key, dict[str, ReplicaHistograms]]:
        """Return the histograms, without the endpoints of which too much is not kept yet for one scrape."""
        wanted = pieces(self.limits)
        for endpoint in self.endpoints.values():
            self._prepare(endpoint, wanted)
        await self._add_replicas(wanted)
        open_pieces = {(key, piece) for key in self.shown for piece in wanted}
        for _ in range(STEPS_AT_ONCE):
            if not open_pieces:
                break
            await self._advance(wanted, open_pieces)
        unknown = {key for key, _ in open_pieces}
        newest = self.newest.durations
        if self.limits.minutes_to_s != (self.newest.limits or self.limits).minutes_to_s:
            windows = Piece(TEN_SECONDS, self.limits.minutes_to_s, _FOREVER)
            newest = await self._durations(TEN_SECONDS, [windows], self.scope)
        return await asyncio.to_thread(self._all_histograms, newest, unknown)

    def _prepare(self, endpoint: _Endpoint, wanted: list[Piece]) -> None:
        """Drop what cannot be kept, and begin what is not there."""
        starts = {(piece.level.name, piece.from_s): piece for piece in wanted}
        for start in [start for start in endpoint.kept if start not in starts]:
            del endpoint.kept[start]
            endpoint.total = None
        for start, piece in starts.items():
            kept = endpoint.kept.get(start)
            if kept is None or kept.to_s > piece.to_s:
                endpoint.kept[start] = self._begun(piece)
                endpoint.total = None

    async def _add_replicas(self, wanted: list[Piece]) -> None:
        """Read what is lacking of replicas that came back, or turn out to be older; whether the rest of their
        endpoints is still right is checked after it.
        """
        for level in (HOUR, MINUTE):
            lacking: dict[tuple[Key, Piece], list[str]] = {}
            for piece in wanted:
                if piece.level is level:
                    for key, replicas in self.shown.items():
                        if names := self._kept(key, piece).lacking(replicas):
                            lacking[key, piece] = names
            if not lacking:
                continue
            ends = {(piece, self._kept(key, piece).to_s) for key, piece in lacking}
            returned = {name for found in lacking.values() for name in found}
            is_simple = len(ends) == len({piece for piece, _ in ends}) and len(returned) <= MOST_RETURNED
            ranges = [Piece(level, piece.from_s, to_s) for piece, to_s in ends] if is_simple else []
            numbers = {piece: number for number, (piece, _) in enumerate(ends, 1)}
            scope = self.scope.of({key for key, _ in lacking})
            found = await self._durations(level, ranges, scope, returned) if is_simple else {}
            for (key, piece), of_piece in lacking.items():
                endpoint, start = self.endpoints[key], (piece.level.name, piece.from_s)
                endpoint.total = None
                endpoint.kept[start] = (
                    endpoint.kept[start].with_replicas(
                        of_piece, self.shown[key], found.get((key, numbers[piece]), {})
                    )
                    if is_simple and endpoint.kept[start].revision is not None
                    else self._begun(piece)
                )

    def _begun(self, piece: Piece) -> _Kept:
        """Return the piece with nothing read of it but the time before the first replica."""
        first_s = min(min(replicas.values()) for replicas in self.shown.values())
        empty_to_s = first_s // piece.level.seconds * piece.level.seconds
        return _Kept(min(max(empty_to_s, piece.from_s), piece.to_s))

    async def _advance(self, wanted: list[Piece], open_pieces: set[tuple[Key, Piece]]) -> None:
        """Check what is kept, read on where least is, and remove from `open_pieces` what is complete."""
        rows = ROWS_AT_ONCE
        steps: defaultdict[tuple[str, bool], list[_Step]] = defaultdict(list)
        for piece in wanted:
            kept_to = {key: self._kept(key, piece).to_s for key in self.shown if (key, piece) in open_pieces}
            behind = {to_s for to_s in kept_to.values() if to_s < piece.to_s}
            # Endpoints that are complete do not wait for those that are not: their own step only checks them.
            for kept_s in {min(behind), piece.to_s} if behind else {piece.to_s}:
                keys = [key for key, to_s in kept_to.items() if to_s == kept_s]
                if keys:
                    replicas = sum(len(self.shown[key]) for key in keys)
                    windows = min((piece.to_s - kept_s) // piece.level.seconds, -(-rows // replicas))
                    rows = max(rows - windows * replicas, 0)
                    to_s = kept_s + windows * piece.level.seconds
                    steps[piece.level.name, bool(behind) and kept_s == piece.to_s].append(
                        _Step(piece, kept_s, to_s, keys)
                    )
        async with query_group() as group:
            for taken in steps.values():
                group.create_task(self._take(taken, open_pieces))

    async def _take(self, steps: list[_Step], open_pieces: set[tuple[Key, Piece]]) -> None:
        """Take steps of one level."""
        level = steps[0].piece.level
        keys = {key for step in steps for key in step.keys}
        scope = self.scope if len(keys) == len(self.shown) else self.scope.of(keys)
        revisions = await self._revisions(level, steps, scope)
        ahead = [Piece(level, step.kept_s, step.to_s) for step in steps]
        durations = await self._durations(level, ahead, scope)
        await asyncio.to_thread(self._keep, steps, revisions, durations, open_pieces)

    def _keep(
        self,
        steps: list[_Step],
        revisions: Mapping[tuple[Key, int], tuple[Revision, Revision]],
        durations: Mapping[tuple[Key, int], _Found],
        open_pieces: set[tuple[Key, Piece]],
    ) -> None:
        """Add what was found to what is kept, where that is still as it was.

        Runs in a thread, which goes on if the scrape is cancelled: what is copied meanwhile never has a sum that lacks
        a part, since that goes first.
        """
        level = steps[0].piece.level
        for number, step in enumerate(steps, 1):
            start = level.name, step.piece.from_s
            for key in step.keys:
                before, after = revisions.get((key, number), (_NO_ROWS, _NO_ROWS))
                endpoint = self.endpoints[key]
                kept = endpoint.kept[start]
                if kept.revision not in (None, before):  # it was rolled up again
                    endpoint.total = None
                    endpoint.kept[start] = self._begun(step.piece)
                    continue
                if step.to_s > step.kept_s:
                    found = durations.get((key, number), {})
                    endpoint.total = None
                    endpoint.kept[start] = kept.extended(step.to_s, after, found, self.shown[key])
                if step.to_s == step.piece.to_s:
                    open_pieces.discard((key, step.piece))

    def _kept(self, key: Key, piece: Piece) -> _Kept:
        return self.endpoints[key].kept[piece.level.name, piece.from_s]

    async def _revisions(
        self, level: RollupLevel, steps: list[_Step], scope: Scope
    ) -> dict[tuple[Key, int], tuple[Revision, Revision]]:
        """Return the revision of each endpoint and step (by number, from 1), of what is kept and with what comes."""
        ranges = {
            "begins": [step.piece.from_s for step in steps],
            "kepts": [step.kept_s for step in steps],
            "ends": [step.to_s for step in steps],
        }
        rows = await self.reader.read(scope.sql(revisions_sql(level)), scope.parameters | ranges)
        return {
            (Key(namespace, endpoint), number): ((kept_version, kept_count), (version, count))
            for namespace, endpoint, number, kept_version, kept_count, version, count in rows
        }

    async def _durations(
        self, level: RollupLevel, ranges: list[Piece], scope: Scope, only: Collection[str] = ()
    ) -> dict[tuple[Key, int], _Found]:
        return await _read_durations(self.reader, level, ranges, scope, self.newest.heard_from, only)

    def _all_histograms(
        self, newest: Mapping[tuple[Key, int], _Found], unknown: Collection[Key]
    ) -> dict[Key, dict[str, ReplicaHistograms]]:
        return {
            key: self._histograms(key, newest.get((key, 1), {})) for key in self.shown if key not in unknown
        }

    def _histograms(self, key: Key, newest: _Found) -> dict[str, ReplicaHistograms]:
        endpoint = self.endpoints[key]
        if endpoint.total is None:
            found = [kept.found for kept in endpoint.kept.values()]
            endpoint.total = (
                found[0]
                if len(found) == 1
                else {of: merge(part.get(of, NO_DURATIONS) for part in found) for of in set().union(*found)}
            )
        return {
            replica: ReplicaHistograms(
                self.limits.start_s,
                {
                    phase: merge(
                        (
                            endpoint.total.get((replica, phase), NO_DURATIONS),
                            newest.get((replica, phase), NO_DURATIONS),
                        )
                    )
                    for phase in PHASES
                },
            )
            for replica in self.shown[key]
        }


async def _read_durations(
    reader: BinaryReader,
    level: RollupLevel,
    ranges: list[Piece],
    scope: Scope,
    heard_from: HeardFrom,
    only: Collection[str] = (),
) -> dict[tuple[Key, int], _Found]:
    """Return the durations of each endpoint and range (by number, from 1); if named, of `only` these replicas."""
    if all(each.from_s >= each.to_s for each in ranges):
        return {}
    parameters = {
        **scope.parameters,
        **heard_from.parameters,
        "begins": [each.from_s for each in ranges],
        "ends": [each.to_s for each in ranges],
    }
    sql = durations_sql(level)
    if only:
        sql = sql.replace("WHOSE", f"WHOSE AND {NAMED}", 1)
        parameters["names"] = sorted(only)
    return await asyncio.to_thread(parse_durations, await reader.read_binary(scope.sql(sql), parameters))


def parse_durations(rows: bytes) -> dict[tuple[Key, int], _Found]:
    """Return the durations by endpoint and piece, then by replica and phase."""
    found: defaultdict[tuple[Key, int], _Found] = defaultdict(dict)
    values = RowBinary(rows)
    while values.has_more:
        key, replica, piece = Key(values.string(), values.string()), values.string(), values.integer(4)
        for phase in PHASES:
            found[key, piece][replica, phase] = Durations(
                values.array(BUCKET), values.array(COUNT), values.integer(8)
            )
    return found
