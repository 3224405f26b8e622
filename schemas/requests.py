"""The request batch: everything that happened to one replica's requests in one interval, as columns.

Every offset (`at_us`) is in microseconds after the batch's `start_us`. A request has one row in each
phase that it reaches: arrived, then responded (its HTTP status was sent), then finished (its last byte was
sent); or it ends in one of the two aborted phases.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from endpoint_analytics.schemas.limits import (
    MAX_COUNT,
    MAX_DROP_REASONS,
    MAX_DURATION_US,
    MAX_INTERVAL_US,
    MAX_LEVEL,
    MAX_STATUS,
    MAX_SUM_US,
    MAX_TIME_US,
    MIN_STATUS,
    MIN_TIME_US,
)

VERSION = 1

Offset = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTERVAL_US, description="microseconds after start_us")]
Duration = Annotated[int, msgspec.Meta(ge=0, le=MAX_DURATION_US, description="microseconds")]
Status = Annotated[int, msgspec.Meta(ge=MIN_STATUS, le=MAX_STATUS, description="HTTP status code")]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Level = Annotated[int, msgspec.Meta(ge=0, le=MAX_LEVEL, description="requests at once")]
SumUs = Annotated[int, msgspec.Meta(ge=0, le=MAX_SUM_US, description="sum of microseconds since the boot")]
TimeUs = Annotated[int, msgspec.Meta(ge=MIN_TIME_US, le=MAX_TIME_US, description="microseconds since 1970")]

# `$` alone also matches before a final line feed.
StatusName = Annotated[str, msgspec.Meta(pattern=r"^[1-5][0-9][0-9](?!\n)$")]
StatusCounts = dict[StatusName, Count]
DropReason = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}(?!\n)$")]
DropCounts = Annotated[dict[DropReason, Count], msgspec.Meta(max_length=MAX_DROP_REASONS)]


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """Requests that arrived."""

    at_us: list[Offset] = []


class Informational(msgspec.Struct, frozen=True, gc=False):
    """Interim 1xx statuses that were sent; the request stays pending."""

    at_us: list[Offset] = []
    status: list[Status] = []


class Responded(msgspec.Struct, frozen=True, gc=False):
    """Requests whose final HTTP status was sent; `wait_us` is from arrival to status (time to first byte)."""

    at_us: list[Offset] = []
    wait_us: list[Duration] = []
    status: list[Status] = []


class Finished(msgspec.Struct, frozen=True, gc=False):
    """Requests whose last byte was sent; `duration_us` is from arrival to last byte (latency)."""

    at_us: list[Offset] = []
    duration_us: list[Duration] = []
    status: list[Status] = []


class Aborted(msgspec.Struct, frozen=True, gc=False):
    """Requests that ended early (client disconnected, connection reset); `age_us` is from arrival to the end."""

    at_us: list[Offset] = []
    age_us: list[Duration] = []


class Totals(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The replica's own counts, since its boot, of everything it accepted, including this batch.

    Anything in the totals but not in ClickHouse was lost on the way, so losses can be measured. `dropped` counts
    requests that were seen but not accepted, by reason; `dropped_batches` counts batches that were
    accepted but later given up, by reason.
    """

    arrived: Count = 0
    finished: Count = 0
    aborted_pending: Count = 0
    aborted_streaming: Count = 0
    status: StatusCounts = {}
    wait_us: SumUs = 0
    duration_us: SumUs = 0
    dropped: DropCounts = {}
    dropped_batches: DropCounts = {}


class RequestBatch(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="version", tag=VERSION
):
    """One interval `[start_us, end_us]` of one boot of a replica.

    `seq` is 0, 1, 2 ... within the boot. `pending` and `streaming` are the counts at `start_us`;
    `oldest_pending_us` is the age of the oldest pending request at `end_us`, 0 if none is pending. Phases
    without rows, and other members at their defaults, are omitted on the wire.
    """

    namespace: str
    endpoint: str
    replica_id: str
    boot_id: str
    seq: Count
    start_us: TimeUs
    end_us: TimeUs
    pending: Level
    streaming: Level
    oldest_pending_us: Duration = 0
    arrived: Arrived = Arrived()
    informational: Informational = Informational()
    responded: Responded = Responded()
    finished: Finished = Finished()
    aborted_pending: Aborted = Aborted()
    aborted_streaming: Aborted = Aborted()
    totals: Totals = Totals()

    @property
    def events(self) -> int:
        """The total number of rows of all phases."""
        return (
            len(self.arrived.at_us)
            + len(self.informational.at_us)
            + len(self.responded.at_us)
            + len(self.finished.at_us)
            + len(self.aborted_pending.at_us)
            + len(self.aborted_streaming.at_us)
        )
