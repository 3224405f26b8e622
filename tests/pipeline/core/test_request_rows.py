"""Packed rows that are read together are those that each message holds, and refused if it is refused alone."""

from hypothesis import given
from hypothesis import strategies as st
from tests.schemas.messages import request_batches

from endpoint_analytics.pipeline.core.request_rows import RequestRows, rows_of
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.packed_requests import pack, unpack

STATUSES = {"informational": "status", "responded": "status"}
MEASURED = {"responded": "wait_us", "finished": "duration_us"}


def rows_by_batch(rows: RequestRows) -> list[tuple[object, ...]]:
    """Return the rows as (phase, batch, at_us, measured, status), sorted."""
    found = []
    for name, (column, measured, status) in zip(rows._fields, rows, strict=True):
        for row, (batch, at_us) in enumerate(zip(column.batch.tolist(), column.at_us.tolist(), strict=True)):
            found.append(
                (
                    name,
                    batch,
                    at_us,
                    int(measured[row]) if name in MEASURED else None,
                    int(status[row]) if name in STATUSES else None,
                )
            )
    return sorted(found, key=repr)


def expected(batches) -> list[tuple[object, ...]]:
    found = []
    for index, batch in enumerate(batches):
        for name in RequestRows._fields:
            phase = getattr(batch, name)
            for row, at_us in enumerate(phase.at_us):
                found.append(
                    (
                        name,
                        index,
                        at_us,
                        getattr(phase, MEASURED[name])[row] if name in MEASURED else None,
                        getattr(phase, STATUSES[name])[row] if name in STATUSES else None,
                    )
                )
    return sorted(found, key=repr)


@given(st.lists(st.tuples(request_batches(), st.booleans()), max_size=8))
def test_rows_of_both_forms_are_read_together(batches):
    rows, faults = rows_of([pack(batch) if packed else batch for batch, packed in batches])
    assert not faults
    assert rows_by_batch(rows) == expected([batch for batch, _ in batches])


def refusal(packed):
    try:
        unpack(packed)
    except InvalidMessageError as error:
        return error.reason, error.detail
    return None


@st.composite
def spoiled(draw):
    """Return a packed batch with some of its bytes changed, cut off or made up."""
    packed = pack(draw(request_batches()))
    rows = bytearray(packed.rows)
    for _ in range(draw(st.integers(0, 3))):
        if rows:
            rows[draw(st.integers(0, min(len(rows) - 1, 40)))] = draw(
                st.sampled_from([0, 1, 2, 3, 6, 7, 255])
            )
    if draw(st.booleans()):
        rows = rows[: draw(st.integers(0, len(rows)))]
    if draw(st.integers(0, 9)) == 0:
        rows += draw(st.binary(min_size=1, max_size=9))
    return packed.__class__(
        *[bytes(rows) if name == "rows" else getattr(packed, name) for name in packed.__struct_fields__]
    )


@given(st.lists(spoiled(), max_size=8))
def test_what_is_refused_is_what_is_refused_alone(batches):
    refused = {index: why for index, batch in enumerate(batches) if (why := refusal(batch))}
    found = dict[int, tuple[str, str]]()
    left = list(range(len(batches)))
    while True:  # as the fold does it: a fault may hide others
        rows, faults = rows_of([batches[index] for index in left])
        if not faults:
            break
        found |= {left[at]: (error.reason, error.detail) for at, error in faults.items()}
        left = [index for at, index in enumerate(left) if at not in faults]
    assert found == refused
    assert rows_by_batch(rows) == expected([unpack(batches[index]) for index in left])
