"""A fleet's outcome batches: how the requests of a request batch ended, with tokens and gaps. Pure."""

from __future__ import annotations

import random
from collections import Counter

from endpoint_analytics.infra.fleet.truth import OutcomeCounts
from endpoint_analytics.schemas.outcomes import (
    Ended,
    Gaps,
    OutcomeBatch,
    Outcomes,
    OutcomeTotals,
    Slice,
    input_class,
)
from endpoint_analytics.schemas.requests import RequestBatch
from endpoint_analytics.schemas.sketch_buckets import bucket_of_us

_MODELS = ("small", "large", "")
_INPUT_TOKENS = (20, 300, 1_500, 6_000)
_TOKEN_US = 12_000


def outcome_batch(
    batch: RequestBatch, total: OutcomeCounts, rng: random.Random
) -> tuple[OutcomeBatch, OutcomeCounts]:
    """Return the outcomes of all requests that ended in the batch, and their counts, which are added to `total`.

    Its seq is the batch's. Every second request was streamed.
    """
    slices: dict[Slice, int] = {}
    rows: dict[str, list[object]] = {name: [] for name in Outcomes.__struct_fields__ if name != "estimated"}
    gaps: Counter[tuple[int, int]] = Counter()
    counts = OutcomeCounts()
    for at_us, age_us, status, ended in _ended(batch):
        input_tokens, output_tokens = rng.choice(_INPUT_TOKENS), rng.randrange(1, 40)
        streamed = rng.random() < 0.5
        of = Slice(model=rng.choice(_MODELS), streamed=streamed, input_upto=input_class(input_tokens))
        number = slices.setdefault(of, len(slices))
        first_us = age_us // 3 if streamed else None
        if streamed:
            for _ in range(output_tokens - 1):
                gaps[number, bucket_of_us(int(rng.expovariate(1 / _TOKEN_US)))] += 1
        row: dict[str, object] = {
            "at_us": at_us, "slice": number, "ended": ended, "status": status, "duration_us": age_us,
            "first_byte_us": None if status is None else age_us // 4, "first_token_us": first_us,
            "last_token_us": age_us if streamed else None, "events": output_tokens if streamed else None,
            "gap_max_us": 5 * _TOKEN_US if streamed else None, "input_tokens": input_tokens,
            "output_tokens": output_tokens, "cached_tokens": input_tokens // 2, "reasoning_tokens": None,
            "request_bytes": 4 * input_tokens, "response_bytes": 200 * output_tokens,
        }  # fmt: skip
        for name, value in row.items():
            rows[name].append(value)
        counts.requests += 1
        counts.input_tokens += input_tokens
        counts.output_tokens += output_tokens
        counts.gaps += output_tokens - 1 if streamed else 0
        counts.duration_us += age_us
    total.add(counts)
    pairs = sorted(gaps.items())
    return OutcomeBatch(
        namespace=batch.namespace,
        endpoint=batch.endpoint,
        replica_id=batch.replica_id,
        boot_id=batch.boot_id,
        seq=batch.seq,
        start_us=batch.start_us,
        end_us=batch.end_us,
        slices=list(slices),
        outcomes=Outcomes(**rows),  # type: ignore[arg-type]  # each column has the type of its values
        gaps=Gaps(
            [number for (number, _), _ in pairs], [bucket for (_, bucket), _ in pairs], [n for _, n in pairs]
        ),
        totals=OutcomeTotals(total.requests),
    ), counts


def _ended(batch: RequestBatch) -> list[tuple[int, int, int | None, Ended]]:
    """Return the time, the age, the status and the end of each request that ended."""
    finished = batch.finished
    found: list[tuple[int, int, int | None, Ended]] = [
        (at_us, age_us, status, "complete")
        for at_us, age_us, status in zip(finished.at_us, finished.duration_us, finished.status, strict=True)
    ]
    for aborted, status in ((batch.aborted_pending, None), (batch.aborted_streaming, 200)):
        found += [
            (at_us, age_us, status, "aborted")
            for at_us, age_us in zip(aborted.at_us, aborted.age_us, strict=True)
        ]
    return found
