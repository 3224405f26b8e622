"""The outcome batch: how requests of one replica ended, as columns: their names, sizes, stream and tokens.

It tells more about requests that a request batch counts; what it says never changes those counts. Which requests are
in it is up to the agent: streams and answers of language models only, or all. A value that is unknown is null, and a
column in which all are unknown is omitted.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from endpoint_analytics.schemas.limits import (
    MAX_AMOUNT,
    MAX_BUCKET,
    MAX_COUNT,
    MAX_ID_LENGTH,
    MAX_LABEL_LENGTH,
    MAX_SAMPLED_REQUESTS,
    MAX_SLICES,
)
from endpoint_analytics.schemas.requests import Count, DropCounts, Duration, Offset, Status, TimeUs

VERSION = 1

OTHER = "other"
"""Stands for all routes, models or callers beyond the agent's limit."""

INPUT_CLASSES = (128, 512, 2048, 8192, 32_768, 131_072, MAX_COUNT)
"""Requests are divided by their input tokens into classes up to these: time to first token grows with the prompt."""

Ended = Literal["complete", "cut", "error", "aborted"]
"""`complete`; `cut`: the server ended a stream before its protocol's end; `error`: an event of the stream says that it
failed; `aborted`: the client left, or the connection broke."""

# No control characters; `$` alone also matches before a final line feed.
Label = Annotated[str, msgspec.Meta(max_length=MAX_LABEL_LENGTH, pattern=r"^[^\x00-\x1f\x7f]*(?!\n)$")]
Identifier = Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH, pattern=r"^[\x20-\x7e]*(?!\n)$")]
TraceId = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?(?!\n)$")]
SliceNumber = Annotated[int, msgspec.Meta(ge=0, lt=MAX_SLICES, description="position in slices")]
Amount = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
Bucket = Annotated[int, msgspec.Meta(ge=0, le=MAX_BUCKET, description="bucket of the latency sketch")]


class Slice(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What requests are divided by. Route, model and caller are empty where they are not known, or not asked for."""

    route: Label = ""
    model: Label = ""
    caller: Label = ""
    streamed: bool = False
    input_upto: Count = 0


class Outcomes(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Requests that ended in the interval, one row each; times are since the request arrived."""

    at_us: list[Offset] = []
    slice: list[SliceNumber] = []
    ended: list[Ended] = []
    status: list[Status | None] = []
    duration_us: list[Duration] = []
    first_byte_us: list[Duration | None] = []
    first_token_us: list[Duration | None] = []
    last_token_us: list[Duration | None] = []
    events: list[Amount | None] = []
    gap_max_us: list[Duration | None] = []
    input_tokens: list[Amount | None] = []
    output_tokens: list[Amount | None] = []
    cached_tokens: list[Amount | None] = []
    reasoning_tokens: list[Amount | None] = []
    estimated: list[bool] = []
    request_bytes: list[Amount | None] = []
    response_bytes: list[Amount | None] = []


class Gaps(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How often the time between two events of a stream fell into each bucket, of the requests of a slice."""

    slice: list[SliceNumber] = []
    bucket: list[Bucket] = []
    count: list[Amount] = []


class SampledRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One request, chosen because it failed, was slow, or at random; `of` is the number that it was chosen from."""

    why: Literal["failed", "slow", "random"]
    of: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)]
    at_us: Offset
    slice: SliceNumber
    ended: Ended
    status: Status | None = None
    duration_us: Duration
    wait_us: Duration | None = None
    first_token_us: Duration | None = None
    last_token_us: Duration | None = None
    gap_max_us: Duration | None = None
    events: Amount | None = None
    input_tokens: Amount | None = None
    output_tokens: Amount | None = None
    request_bytes: Amount | None = None
    response_bytes: Amount | None = None
    request_id: Identifier = ""
    trace_id: TraceId = ""


class OutcomeTotals(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The replica's own counts since its boot, including this batch: what is not stored was lost on the way."""

    requests: Count = 0
    dropped: DropCounts = {}
    dropped_batches: DropCounts = {}


class OutcomeBatch(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="version", tag=VERSION
):
    """One interval `[start_us, end_us]` of one boot of a replica; nothing is sent for an interval without requests.

    Members at their defaults are omitted on the wire.
    """

    namespace: str
    endpoint: str
    replica_id: str
    boot_id: str
    seq: Count
    start_us: TimeUs
    end_us: TimeUs
    slices: Annotated[list[Slice], msgspec.Meta(max_length=MAX_SLICES)] = []
    outcomes: Outcomes = Outcomes()
    gaps: Gaps = Gaps()
    samples: Annotated[list[SampledRequest], msgspec.Meta(max_length=MAX_SAMPLED_REQUESTS)] = []
    totals: OutcomeTotals = OutcomeTotals()


NULLABLE = (
    "status", "first_byte_us", "first_token_us", "last_token_us", "events", "gap_max_us", "input_tokens",
    "output_tokens", "cached_tokens", "reasoning_tokens", "estimated", "request_bytes", "response_bytes",
)  # fmt: skip
"""Columns that are omitted if nothing is known."""


def input_class(input_tokens: int | None) -> int:
    """Return the class of a request by its input tokens, 0 if they are unknown."""
    if input_tokens is None:
        return 0
    return next(upto for upto in INPUT_CLASSES if input_tokens <= upto)
