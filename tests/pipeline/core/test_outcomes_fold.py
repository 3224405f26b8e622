"""What the fold stores of outcome batches is what a count request by request finds, however the log is split."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.core.outcome_batches import START_US, expected_rows, outcome_batches

from endpoint_analytics.pipeline.core import outcomes_fold
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.core.outcomes_fold import ADDED, GREATEST, SKETCHES, OutcomeWindows
from endpoint_analytics.pipeline.core.row_block import Lists, RowBlock, Times
from endpoint_analytics.pipeline.core.rows import Chunk
from endpoint_analytics.schemas.outcomes import OTHER, OutcomeBatch, Outcomes, SampledRequest, Slice

CHUNK = Chunk("outcomes", 3, Record(100, 1_790_000_000_000, None))


def key_of(batch):
    return BootKey(batch.namespace, batch.endpoint, batch.replica_id, batch.boot_id)


def fold(windows, batches, first=100):
    return windows.fold([(key_of(batch), batch, first + number) for number, batch in enumerate(batches)])


def rows_of(block: RowBlock | None):
    """Return the rows of a block by (boot_id, window, slice)."""
    found = {}
    if block is None:
        return found
    columns = dict(block.columns)
    for name, column in columns.items():
        if isinstance(column, Lists):
            ends = np.cumsum(column.lengths)
            columns[name] = [
                list(column.elements[end - length : end])
                for end, length in zip(ends, column.lengths, strict=True)
            ]
        elif isinstance(column, Times):
            columns[name] = (column.moments // 10).tolist()
        elif isinstance(column, np.ndarray):
            columns[name] = column.tolist()
    for row in range(block.count):
        values = {name: column[row] for name, column in columns.items()}
        of = Slice(
            values["route"],
            values["model"],
            values["caller"],
            bool(values["streamed"]),
            values["input_upto"],
        )
        found[values["boot_id"], values["window_start"], of] = values
    return found


def check(rows, batches):
    expected = expected_rows(batches)
    assert set(rows) == set(expected)
    for key, row in rows.items():
        wanted = expected[key]
        for name in (*ADDED, *GREATEST[1:]):
            assert row[name] == wanted[name], (key, name)
        for sketch in ("status", *SKETCHES):
            codes = row["status_codes" if sketch == "status" else f"{sketch}_buckets"]
            found = Counter(dict(zip(codes, row[f"{sketch}_counts"], strict=True)))
            assert found == wanted.get(("sketch", sketch), Counter()), (key, sketch)
            assert codes == sorted(codes)


@given(st.lists(outcome_batches(), max_size=4))
def test_the_fold_counts_what_a_request_by_request_count_finds(batches):
    windows = OutcomeWindows()
    assert fold(windows, batches) == [len(batch.outcomes.at_us) for batch in batches]
    check(rows_of(windows.take_block(CHUNK)), batches)
    assert windows.take_block(CHUNK) is None


@given(st.lists(outcome_batches(), min_size=1, max_size=5), st.data())
def test_any_split_of_the_log_gives_the_same_rows(batches, data):
    whole, parts = OutcomeWindows(), OutcomeWindows()
    fold(whole, batches)
    rows, first = {}, 0
    while first < len(batches):
        size = data.draw(st.integers(1, len(batches) - first))
        fold(parts, batches[first : first + size], 100 + first)
        if data.draw(st.booleans()):
            rows |= rows_of(parts.take_block(CHUNK))
        first += size
    rows |= rows_of(parts.take_block(CHUNK))
    assert rows == rows_of(whole.take_block(CHUNK))


def batch_of(slices, rows=None, **more):
    count = len(slices) if rows is None else rows
    return OutcomeBatch(
        namespace="acme", endpoint="llm", replica_id="r1", boot_id="b1", seq=0, start_us=START_US,
        end_us=START_US + 1_000_000, slices=slices,
        outcomes=Outcomes(
            at_us=[0] * count, slice=list(range(count)), ended=["complete"] * count, duration_us=[1] * count
        ),
        **more,
    )  # fmt: skip


def test_slices_beyond_the_limit_are_counted_under_other(monkeypatch):
    monkeypatch.setattr(outcomes_fold, "MAX_SLICE_ROWS", 2)
    windows = OutcomeWindows()
    fold(windows, [batch_of([Slice(model=f"m{n}", streamed=n == 4) for n in range(5)])])
    found = {of: row["complete"] for (_, _, of), row in rows_of(windows.take_block(CHUNK)).items()}
    assert found == {
        Slice(model="m0"): 1,
        Slice(model="m1"): 1,
        Slice(OTHER, OTHER, OTHER): 2,
        Slice(OTHER, OTHER, OTHER, streamed=True): 1,
    }


def test_a_route_that_is_called_other_is_bounded_too(monkeypatch):
    monkeypatch.setattr(outcomes_fold, "MAX_SLICE_ROWS", 2)
    windows = OutcomeWindows()
    fold(windows, [batch_of([Slice(OTHER, model=f"m{n}") for n in range(5)])])
    found = {of: row["complete"] for (_, _, of), row in rows_of(windows.take_block(CHUNK)).items()}
    assert found == {Slice(OTHER, "m0"): 1, Slice(OTHER, "m1"): 1, Slice(OTHER, OTHER, OTHER): 3}


def test_a_sampled_request_is_a_row_of_its_own_and_unknown_values_are_null():
    sample = SampledRequest(
        why="failed", of=7, at_us=5, slice=0, ended="aborted", duration_us=9, trace_id="a" * 32
    )
    windows = OutcomeWindows()
    fold(windows, [batch_of([Slice(route="/x", caller="c")], rows=0, samples=[sample])])
    [row] = windows.take_samples(CHUNK)
    assert row.table == "request_samples"
    assert row.values["at"] == f"{START_US // 1_000_000}.000005"
    assert (row.values["partition"], row.values["offset"], row.values["number"]) == (3, 100, 0)
    assert (row.values["route"], row.values["caller"], row.values["of"]) == ("/x", "c", 7)
    assert row.values["status"] is None
    assert row.values["first_token_us"] is None
    assert windows.take_samples(CHUNK) == []
