"""Turns recorder snapshots into outcome batches: rows of requests with details, and a sample of all requests.

Stateful, but otherwise pure: no clock, no I/O, no threads. Names come from clients and applications, so each kind is
bounded: those beyond the limit are `other`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from endpoint_analytics.agents.core.clamp import interval_in_range, status_in_range
from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.recorder import RecordedRequest, Snapshot
from endpoint_analytics.agents.outcome.body_facts import BodyFacts
from endpoint_analytics.agents.outcome.details import RequestDetails
from endpoint_analytics.agents.outcome.identifiers import read_identifiers
from endpoint_analytics.agents.outcome.names import Names
from endpoint_analytics.agents.outcome.sampling import Chosen, Sampler
from endpoint_analytics.agents.outcome.usage import Usage
from endpoint_analytics.schemas.limits import MAX_AMOUNT, MAX_DURATION_US
from endpoint_analytics.schemas.outcomes import (
    NULLABLE,
    Ended,
    Gaps,
    OutcomeBatch,
    Outcomes,
    OutcomeTotals,
    SampledRequest,
    Slice,
    input_class,
)

MAX_ROWS = 900
"""Requests of one batch: each may have a slice of its own."""
SAMPLES_EVERY_NS = 10_000_000_000
"""Slow and ordinary requests wait so long before they are sent by themselves."""
FAILED_STATUS = 500
BAD_ENDS = frozenset({"cut", "error"})

_NO_FACTS = BodyFacts(streamed=False)
_NO_DETAILS = RequestDetails()


class EndedRequest(NamedTuple):
    """A request that ended, with its values as the batch has them; `at_ns` is on the monotonic clock."""

    at_ns: int
    slice: Slice
    ended: Ended
    status: int | None
    duration_us: int
    wait_us: int | None
    first_byte_us: int | None
    first_token_us: int | None
    last_token_us: int | None
    events: int | None
    gap_max_us: int | None
    usage: Usage
    estimated: bool
    request_bytes: int | None
    response_bytes: int | None
    gaps: Mapping[int, int]
    request: RecordedRequest


class OutcomeBatcher:
    """Makes the outcome batches of one boot of one replica."""

    def __init__(self, config: AgentConfig, boot_id: str, rng: random.Random | None = None) -> None:
        self._config = config
        self._boot_id = boot_id
        self._seq = 0
        self._requests = 0
        self._names = {kind: Names(config.name_limit) for kind in config.dimensions}
        self._sampler = Sampler(_duration_ns, rng or random.Random())  # noqa: S311 - a sample, nothing secret
        self._sampled_ns: int | None = None

    def batches(
        self,
        snapshot: Snapshot,
        offset_us: int,
        dropped: Mapping[str, int],
        dropped_batches: Mapping[str, int],
        *,
        is_last: bool = False,
    ) -> Iterator[OutcomeBatch]:
        """Yield what ended in the snapshot, in one batch or several; none if there is nothing to tell."""
        finished, aborted = snapshot.finished, [*snapshot.aborted_pending, *snapshot.aborted_streaming]
        rows = [
            self._read(request, aborted=requests is aborted)
            for requests in (finished, aborted)
            for request in requests
            if request.details is not None
        ]
        bad = {id(row.request) for row in rows if row.ended in BAD_ENDS}
        failed = [
            each for each in finished if status_in_range(each.status) >= FAILED_STATUS or id(each) in bad
        ]
        bad |= {id(each) for each in failed}
        self._sampler.add(
            [each for each in finished if id(each) not in bad] if bad else finished, failed + aborted
        )
        if self._sampled_ns is None:
            self._sampled_ns = snapshot.start_ns
        samples: Sequence[Chosen[RecordedRequest]] = ()
        is_due = is_last or snapshot.end_ns - self._sampled_ns >= SAMPLES_EVERY_NS
        # Failed ones are taken in the flush in which they end, so `aborted` has all of them that were aborted.
        if self._sampler.has_failed or (is_due and not self._sampler.is_empty):
            samples, self._sampled_ns = self._sampler.take(), snapshot.end_ns
        for first in range(0, max(len(rows), bool(samples)), MAX_ROWS):
            part = rows[first : first + MAX_ROWS]
            self._requests += len(part)
            yield self._batch(
                snapshot, offset_us, part, () if first else samples, aborted, dropped, dropped_batches
            )

    def _batch(
        self,
        snapshot: Snapshot,
        offset_us: int,
        rows: Sequence[EndedRequest],
        samples: Sequence[Chosen[RecordedRequest]],
        aborted: Sequence[RecordedRequest],
        dropped: Mapping[str, int],
        dropped_batches: Mapping[str, int],
    ) -> OutcomeBatch:
        oldest_ns = min([snapshot.start_ns, *(chosen.item.ended_ns for chosen in samples)])
        start_us, end_us = interval_in_range(oldest_ns, snapshot.end_ns, offset_us)

        def offset(at_ns: int) -> int:
            return min(max(at_ns // 1_000 + offset_us - start_us, 0), end_us - start_us)

        slices: dict[Slice, int] = {}
        gaps: Counter[tuple[int, int]] = Counter()
        numbers = [slices.setdefault(row.slice, len(slices)) for row in rows]
        for number, row in zip(numbers, rows, strict=True):
            for bucket, count in row.gaps.items():
                gaps[number, bucket] += count
        described = []
        for chosen in samples:
            row = self._read(chosen.item, aborted=chosen.item in aborted)
            number = slices.setdefault(row.slice, len(slices))
            described.append(_sample(chosen, row, offset(row.at_ns), number))
        columns: dict[str, list[object]] = {
            "at_us": [offset(row.at_ns) for row in rows],
            "slice": list(numbers),
            **{name: [getattr(row, name) for row in rows] for name in _OF_ROW},
            **{name: [getattr(row.usage, name) for row in rows] for name in _OF_USAGE},
        }
        for name in NULLABLE:
            if all(value is None or value is False for value in columns[name]):  # 0 is known
                del columns[name]
        pairs = sorted(gaps.items())
        seq, self._seq = self._seq, self._seq + 1
        return OutcomeBatch(
            namespace=self._config.namespace,
            endpoint=self._config.endpoint,
            replica_id=self._config.replica_id,
            boot_id=self._boot_id,
            seq=seq,
            start_us=start_us,
            end_us=end_us,
            slices=list(slices),
            outcomes=Outcomes(**columns),  # type: ignore[arg-type]  # each column has the type of its values
            gaps=Gaps(
                slice=[number for (number, _), _ in pairs],
                bucket=[bucket for (_, bucket), _ in pairs],
                count=[count for _, count in pairs],
            ),
            samples=described,
            totals=OutcomeTotals(self._requests, dict(dropped), dict(dropped_batches)),
        )

    def _read(self, request: RecordedRequest, *, aborted: bool) -> EndedRequest:
        details = request.details if isinstance(request.details, RequestDetails) else _NO_DETAILS
        body, usage = details.body or _NO_FACTS, details.usage
        arrived_ns = request.arrived_ns

        def since(at_ns: int | None) -> int | None:
            return None if at_ns is None else min(max((at_ns - arrived_ns) // 1_000, 0), MAX_DURATION_US)

        has_status = getattr(request, "status", None) is not None
        return EndedRequest(
            at_ns=request.ended_ns,
            slice=self._slice(details, request.ended_ns),
            ended=_how(body, aborted=aborted),
            status=status_in_range(request.status) if has_status else None,
            duration_us=since(request.ended_ns) or 0,
            wait_us=since(request.responded_ns) if has_status else None,
            first_byte_us=since(body.first_byte_ns),
            first_token_us=since(body.first_content_ns) if body.streamed else None,
            last_token_us=since(body.last_content_ns) if body.streamed else None,
            events=_amount(body.events),
            gap_max_us=None if body.max_gap_ns is None else min(body.max_gap_ns // 1_000, MAX_DURATION_US),
            usage=usage,
            estimated=details.is_estimated,
            request_bytes=_amount(details.request_bytes),
            response_bytes=_amount(details.response_bytes),
            gaps=body.gaps,
            request=request,
        )

    def _slice(self, details: RequestDetails, at_ns: int) -> Slice:
        known = {kind: names.name(getattr(details, kind), at_ns) for kind, names in self._names.items()}
        return Slice(
            **known,
            streamed=details.body is not None and details.body.streamed,
            input_upto=input_class(details.usage.input_tokens),
        )


_OF_ROW = (
    "ended", "status", "duration_us", "first_byte_us", "first_token_us", "last_token_us", "events", "gap_max_us",
    "estimated", "request_bytes", "response_bytes",
)  # fmt: skip
_OF_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


def _duration_ns(request: RecordedRequest) -> int:
    return request.ended_ns - request.arrived_ns


def _how(body: BodyFacts, *, aborted: bool) -> Ended:
    if body.failed:
        return "error"
    if aborted:
        return "aborted"
    return "cut" if body.ended is False else "complete"


def _amount(number: int | None) -> int | None:
    return None if number is None else min(max(number, 0), MAX_AMOUNT)


def _sample(chosen: Chosen[RecordedRequest], row: EndedRequest, at_us: int, number: int) -> SampledRequest:
    identifiers = read_identifiers(row.request.headers or ())
    return SampledRequest(
        why=chosen.why,
        of=chosen.of,
        at_us=at_us,
        slice=number,
        ended=row.ended,
        status=row.status,
        duration_us=row.duration_us,
        wait_us=row.wait_us,
        first_token_us=row.first_token_us,
        last_token_us=row.last_token_us,
        gap_max_us=row.gap_max_us,
        events=row.events,
        input_tokens=row.usage.input_tokens,
        output_tokens=row.usage.output_tokens,
        request_bytes=row.request_bytes,
        response_bytes=row.response_bytes,
        request_id=identifiers.request_id,
        trace_id=identifiers.trace_id,
    )
