"""Outcome batches for tests of the fold, and what they add up to, counted request by request."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from endpoint_analytics.schemas.limits import MAX_AMOUNT, MAX_DURATION_US
from endpoint_analytics.schemas.outcomes import Gaps, OutcomeBatch, Outcomes, Slice, input_class
from endpoint_analytics.schemas.sketch_buckets import bucket_of, bucket_of_us

START_US = 1_790_000_000_000_000
LENGTH_US = 15_000_000
OPTIONAL = (
    "first_byte_us", "first_token_us", "last_token_us", "gap_max_us", "events", "input_tokens", "output_tokens",
    "cached_tokens", "reasoning_tokens", "request_bytes", "response_bytes",
)  # fmt: skip

times = st.one_of(st.none(), st.integers(0, 3_000_000), st.just(MAX_DURATION_US))
amounts = st.one_of(st.none(), st.integers(0, 5_000), st.just(MAX_AMOUNT))
names = st.sampled_from(["", "a", "b"])


@st.composite
def outcome_batches(draw: Any, seq: int = 0, boot_id: str = "b1") -> OutcomeBatch:
    """Return a batch with up to six requests in up to three windows."""
    rows = draw(st.integers(0, 6))
    slices = draw(
        st.lists(
            st.builds(Slice, route=names, model=names, caller=names, streamed=st.booleans(),
                      input_upto=st.sampled_from([0, 128, 512])),
            min_size=1, max_size=3, unique=True,
        )
    )  # fmt: skip
    number = st.integers(0, len(slices) - 1)
    columns: dict[str, Any] = {
        "at_us": draw(st.lists(st.integers(0, LENGTH_US), min_size=rows, max_size=rows)),
        "slice": draw(st.lists(number, min_size=rows, max_size=rows)),
        "ended": draw(
            st.lists(st.sampled_from(["complete", "cut", "error", "aborted"]), min_size=rows, max_size=rows)
        ),
        "duration_us": draw(st.lists(st.integers(0, 3_000_000), min_size=rows, max_size=rows)),
        "status": draw(st.lists(st.sampled_from([None, 200, 429, 503]), min_size=rows, max_size=rows)),
        "estimated": draw(st.lists(st.booleans(), min_size=rows, max_size=rows)),
    }
    for name in OPTIONAL:
        if draw(st.booleans()):
            of = times if name.endswith("_us") else amounts
            columns[name] = draw(st.lists(of, min_size=rows, max_size=rows))
    gaps = draw(st.lists(st.tuples(number, st.integers(0, 2_510), st.integers(1, 100)), max_size=4))
    return OutcomeBatch(
        namespace="acme", endpoint="llm", replica_id="r1", boot_id=boot_id, seq=seq,
        start_us=START_US, end_us=START_US + LENGTH_US, slices=slices, outcomes=Outcomes(**columns),
        gaps=Gaps(*(list(column) for column in zip(*gaps, strict=True))) if gaps else Gaps(),
    )  # fmt: skip


def expected_rows(batches: Iterable[OutcomeBatch]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the rows by (boot_id, window, slice): sums, maxima, and sketches as counters."""
    found: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(lambda: defaultdict(int))
    for batch in batches:
        last_us = max(batch.end_us - 1, batch.start_us)
        outcomes = batch.outcomes
        for row, at_us in enumerate(outcomes.at_us):
            window = min(batch.start_us + at_us, last_us) // 10_000_000
            into = found[batch.boot_id, window, batch.slices[outcomes.slice[row]]]
            _add(
                into,
                {name: _at(getattr(outcomes, name), row) for name in (*OPTIONAL, "duration_us", "status")},
            )
            into[outcomes.ended[row]] += 1
            into["estimated"] += bool(_at(outcomes.estimated, row))
        for number, bucket, count in zip(batch.gaps.slice, batch.gaps.bucket, batch.gaps.count, strict=True):
            into = found[batch.boot_id, last_us // 10_000_000, batch.slices[number]]
            into["itl_count"] += count
            _count(into, "itl", bucket, count)
    return found


def _at(column: list[Any], row: int) -> Any:
    return column[row] if column else None


def _add(into: dict[str, Any], row: dict[str, Any]) -> None:
    first, last, tokens = row["first_token_us"], row["last_token_us"], row["output_tokens"]
    is_stream = first is not None and last is not None and last >= first
    tpot = (last - first) // (tokens - 1) if is_stream and tokens is not None and tokens > 1 else None
    if is_stream:
        into["itl_sum_us"] += last - first
    for name, value in (
        ("latency", row["duration_us"]), ("first_byte", row["first_byte_us"]), ("ttft", first), ("tpot", tpot),
        ("stall", row["gap_max_us"]),
    ):  # fmt: skip
        if value is not None:
            into[f"{name}_count"] += 1
            into[f"{name}_sum_us"] += value
            into[f"{name}_max_us"] = max(into[f"{name}_max_us"], value)
            _count(into, name, bucket_of_us(value))
    for name in ("input_tokens", "output_tokens", "request_bytes", "response_bytes"):
        if (value := row[name]) is not None:
            into[f"{name}_count"] += 1
            into[f"{name}_sum"] += value
            _count(into, name, bucket_of(value))
    for name in ("events", "cached_tokens", "reasoning_tokens"):
        if (value := row[name]) is not None:
            into[f"{name}_count"] += 1
            into[f"{name}_sum"] += value
    if row["status"] is not None:
        _count(into, "status", row["status"])


def _count(into: dict[str, Any], sketch: str, code: int, count: int = 1) -> None:
    into.setdefault(("sketch", sketch), Counter())[code] += count  # type: ignore[call-overload]


__all__ = ["expected_rows", "input_class", "outcome_batches"]
