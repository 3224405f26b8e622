"""The table of a replica's life."""

from __future__ import annotations

import itertools

from endpoint_analytics.agents.core.lifecycle import NEXT, may_follow
from endpoint_analytics.schemas.replicas import STATES


def test_every_state_stands_in_the_table():
    assert set(NEXT) == set(STATES)
    assert all(following <= set(STATES) for following in NEXT.values())


def test_a_life_in_order_and_its_shortcuts():
    for before, after in itertools.pairwise(STATES[:-1]):
        assert may_follow(before, after), (before, after)
    assert may_follow(None, "running")
    assert may_follow("pending", "running")


def test_no_state_follows_itself_and_none_goes_back():
    assert not any(may_follow(state, state) for state in STATES)
    assert not may_follow("running", "initializing")
    assert not may_follow("terminated", "running")


def test_every_life_can_end():
    for state in STATES:
        if state not in {"terminated", "failed"}:
            assert may_follow(state, "terminated")
            assert may_follow(state, "failed")
