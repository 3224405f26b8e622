"""Lost requests, and when they were lost: those agents could not record or gave up on, and batches that never arrived.

Nothing is guessed: agents send their own totals with each batch, and batches are numbered. After each chunk of the
Kafka log the worker stores the state of each boot (`boot_states`). Where a boot's losses rise from one chunk to the
next, they lie between its last report of the previous chunk and its last report of this one. Losses older than the
stored rows lie anywhere in the boot's life.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from endpoint_analytics.pipeline.store.loss_counts import LossCounts, count_losses
from endpoint_analytics.pipeline.store.reader import Reader

MAX_LOSSES = 1000
MAX_LISTED_BOOTS = 200
"""Limits for one answer; beyond them, the oldest are left out."""

_LOST = "missing, agent_arrived, arrived, dropped_reasons, dropped_counts, dropped_batch_reasons, dropped_batch_counts"

# Few boots lose anything, and most endpoints have none that do.
LOSSY = f"""
SELECT replica_id, boot_id, partition, first_at, last_at, {_LOST}
FROM boots FINAL
WHERE namespace = {{namespace:String}} AND endpoint = {{endpoint:String}} AND stream = 'requests'
    AND ({{replica:String}} = '' OR replica_id = {{replica:String}})
    AND last_at >= toDateTime64({{from:Float64}}, 6, 'UTC') AND first_at < toDateTime64({{to:Float64}}, 6, 'UTC')
    AND (missing > 0 OR notEmpty(dropped_counts) OR notEmpty(dropped_batch_counts))
ORDER BY last_append DESC
LIMIT {{limit:UInt32}}
"""  # noqa: S608 - constants; values are bound by the server

# The chunks after which their losses had changed.
CHANGES = f"""
SELECT replica_id, boot_id, partition, before_at, last_at, {_LOST}
FROM
(
    SELECT replica_id, boot_id, partition, chunk, last_at, {_LOST},
        (missing, agent_arrived - arrived, dropped_counts, dropped_batch_counts) AS lost,
        lagInFrame(lost) OVER boot AS lost_before, lagInFrame(last_at, 1, first_at) OVER boot AS before_at
    FROM boot_states FINAL
    WHERE stream = 'requests' AND namespace = {{namespace:String}} AND endpoint = {{endpoint:String}}
        AND (replica_id, boot_id) IN {{boots:Array(Tuple(String, String))}}
    WINDOW boot AS (PARTITION BY replica_id, boot_id, partition ORDER BY chunk
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE lost != lost_before
ORDER BY replica_id, boot_id, partition, chunk
"""  # noqa: S608 - constants; values are bound by the server


@dataclass(frozen=True, slots=True)
class LostRequests:
    """Requests and batches of a replica that were lost between two moments, by reason."""

    replica: str
    from_s: float
    to_s: float
    requests: int
    batches: int
    reasons: Mapping[str, int]
    """Requests by reason; a batch's reason applies to its requests."""


class _State(NamedTuple):
    """A row of either query, without its replica, boot and partition."""

    before_at: datetime
    last_at: datetime
    missing: int
    agent_arrived: int
    arrived: int
    dropped_reasons: Sequence[str]
    dropped_counts: Sequence[int]
    batch_reasons: Sequence[str]
    batch_counts: Sequence[int]

    @property
    def lost(self) -> LossCounts:
        """Return everything the boot had lost by then."""
        return count_losses(
            dict(zip(self.dropped_reasons, self.dropped_counts, strict=True)),
            dict(zip(self.batch_reasons, self.batch_counts, strict=True)),
            self.missing,
            self.agent_arrived - self.arrived,
        )


async def read_losses(
    reader: Reader, namespace: str, endpoint: str, replica: str, from_s: float, to_s: float
) -> list[LostRequests]:
    """Return the losses whose time overlaps the range, in order of time; raises StoreError."""
    of = {"namespace": namespace, "endpoint": endpoint}
    chosen = {"replica": replica, "from": from_s, "to": to_s, "limit": MAX_LISTED_BOOTS}
    boots = await reader.read(LOSSY, of | chosen)
    if not boots:
        return []
    changes = await reader.read(CHANGES, of | {"boots": sorted({(row[0], row[1]) for row in boots})})
    found = [loss for loss in parse_losses(boots, changes) if loss.from_s < to_s and loss.to_s >= from_s]
    return sorted(found, key=lambda loss: (loss.from_s, loss.replica))[-MAX_LOSSES:]


def parse_losses(boots: Iterable[Sequence[Any]], changes: Iterable[Sequence[Any]]) -> list[LostRequests]:
    """Return the losses in the rows of LOSSY and CHANGES, by boot and partition: each counts what it was told."""
    states: dict[tuple[str, str, int], list[_State]] = {}
    for replica, boot_id, partition, *state in changes:
        states.setdefault((replica, boot_id, partition), []).append(_State._make(state))
    return [
        loss
        for replica, boot_id, partition, *whole in boots
        for loss in _losses_of(replica, states.get((replica, boot_id, partition), []), _State._make(whole))
    ]


def _losses_of(replica: str, chunks: Sequence[_State], whole: _State) -> list[LostRequests]:
    """Return the increases from state to state. Late arrivals are subtracted from the newest losses before them."""
    found: list[tuple[_State, LossCounts]] = []
    known = LossCounts({}, 0)
    for state in chunks:
        found.append((state, state.lost.since(known)))
        known = state.lost
    found.append((whole, whole.lost.since(known)))  # lost before the oldest stored chunk
    recovered = LossCounts({}, 0)
    losses = []
    for state, lost in reversed(found):
        settled, recovered = lost.without(recovered)
        if settled.requests or settled.batches:
            losses.append(
                LostRequests(
                    replica,
                    _seconds(state.before_at),
                    _seconds(state.last_at),
                    settled.requests,
                    settled.batches,
                    settled.reasons,
                )
            )
    return losses


def _seconds(at: datetime) -> float:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
