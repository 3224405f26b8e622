"""The outbox: in order, bounded by number and bytes, every drop counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.delivery.outbox import Outbox


def test_first_in_first_out():
    outbox = Outbox(10, 1_000)
    for message in (b"a", b"b", b"c"):
        outbox.put(message)
    assert [outbox.take() for _ in range(3)] == [b"a", b"b", b"c"]
    with pytest.raises(IndexError):
        outbox.take()


def test_the_oldest_go_when_there_are_too_many():
    outbox = Outbox(2, 1_000)
    for message in (b"a", b"b", b"c"):
        outbox.put(message)
    assert outbox.dropped == {"buffer_full": 1}
    assert outbox.take() == b"b"


def test_the_oldest_go_when_they_are_too_large():
    outbox = Outbox(10, 5)
    for message in (b"aa", b"bb", b"cc"):
        outbox.put(message)
    assert outbox.dropped == {"buffer_full": 1}
    outbox.put(b"larger than all of it")
    assert len(outbox) == outbox.size_bytes == 0
    assert outbox.dropped == {"buffer_full": 4}


@given(
    st.lists(st.one_of(st.binary(max_size=9), st.none()), max_size=60), st.integers(1, 8), st.integers(1, 40)
)
def test_nothing_is_lost_uncounted(steps, max_messages, max_bytes):
    outbox = Outbox(max_messages, max_bytes)
    put, taken = [], []
    for step in steps:
        if step is not None:
            put.append(step)
            outbox.put(step)
        elif outbox:
            taken.append(outbox.take())
        assert len(outbox) <= max_messages
        assert outbox.size_bytes <= max_bytes
    while outbox:
        taken.append(outbox.take())
    assert outbox.size_bytes == 0
    assert len(put) == len(taken) + outbox.dropped.get("buffer_full", 0)
    remaining = iter(put)
    assert all(message in remaining for message in taken)  # in order
