"""The spooled sender's memory: numbered, in order, bounded; messages being written or sent are never dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.spool.spool_outbox import SpoolOutbox


def numbers(outbox):
    return [number for number, _ in outbox.after(0)]


def test_numbers_go_on_and_what_is_safe_is_forgotten():
    outbox = SpoolOutbox(10, 1_000)
    assert [outbox.put(b"x") for _ in range(4)] == [1, 2, 3, 4]
    outbox.forget(2)
    assert numbers(outbox) == [3, 4]
    assert outbox.size_bytes == 2
    assert [number for number, _ in outbox.group_after(0, 1, 100)] == [3]


def test_the_oldest_goes_that_nobody_works_on():
    outbox = SpoolOutbox(3, 1_000)
    for _ in range(3):
        outbox.put(b"x")
    outbox.writing_through, outbox.sending_through = 2, 1
    outbox.put(b"x")
    assert numbers(outbox) == [1, 2, 4]
    outbox.put(b"x")
    assert numbers(outbox) == [1, 2, 5]
    outbox.writing_through = outbox.sending_through = 0
    outbox.put(b"x")
    assert numbers(outbox) == [2, 5, 6]
    assert outbox.dropped == {"buffer_full": 3}


@given(
    st.lists(st.one_of(st.binary(max_size=9), st.sampled_from([1, 2, 3])), max_size=60),
    st.integers(1, 8),
    st.integers(1, 40),
)
def test_nothing_is_lost_uncounted(steps, max_messages, max_bytes):
    outbox = SpoolOutbox(max_messages, max_bytes)
    safe = 0
    for step in steps:
        if isinstance(step, bytes):
            outbox.put(step)
        elif step == 3:
            outbox.writing_through = outbox.last_number
        else:
            group = outbox.group_after(0, step, 100)
            safe += len(group)
            outbox.forget(group[-1].number if group else 0)
        assert len(outbox) <= max_messages
        assert outbox.size_bytes == sum(len(message) for _, message in outbox.after(0)) <= max_bytes
        assert numbers(outbox) == sorted(numbers(outbox))
        assert outbox.last_number == safe + len(outbox) + outbox.dropped.get("buffer_full", 0)
