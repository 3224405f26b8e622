from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.store.presence import LastHeard, Presence, is_present, shown_state
from endpoint_analytics.pipeline.store.series_states import (
    FOREVER,
    AgentLife,
    Event,
    RunningCount,
    ready_seconds,
    spans_of,
)
from endpoint_analytics.schemas.replicas import STATES

PRESENCE = Presence()
NOW = 100_000.0


def spans(events=(), lives=(), now=NOW):
    found = spans_of(
        "r1",
        [Event(at, state, "") for at, state in events],
        [AgentLife(*life) for life in lives],
        PRESENCE,
        now,
    )
    return [(span.state, span.from_s, span.to_s, span.inferred) for span in found]


def test_events_follow_each_other():
    assert spans([(10, "pending"), (20, "pulling"), (50, "initializing"), (60, "running")], [(55, NOW)]) == [
        ("pending", 10, 20, False),
        ("pulling", 20, 50, False),
        ("initializing", 50, 60, False),
        ("running", 60, FOREVER, False),
    ]


@pytest.mark.parametrize(
    ("first", "again", "reasons"),
    [("taken out", "", ["taken out"]), ("", "OOMKilled", ["OOMKilled"]), ("one", "two", ["one", "two"])],
)
def test_a_state_told_twice_is_one_unless_the_reasons_differ(first, again, reasons):
    events = [Event(10, "draining", first), Event(20, "draining", again), Event(30, "terminated", "")]
    found = spans_of("r1", events, [AgentLife(5, 30)], PRESENCE, NOW)
    draining = [span for span in found if span.state == "draining"]
    assert [span.reason for span in draining] == reasons
    assert (draining[0].from_s, draining[-1].to_s) == (10, 30)


def test_an_agent_without_events_runs_while_it_speaks():
    assert spans(lives=[(100, 200), (400, NOW)]) == [
        ("running", 100, 210, True),
        ("failed", 210, 400, True),
        ("running", 400, FOREVER, True),
    ]
    assert spans(lives=[(100, 200), (205, NOW)]) == [("running", 100, FOREVER, True)]


def test_silence_is_failure_until_an_event_says_otherwise():
    assert spans([(100, "running"), (900, "terminated")], [(100, 200)]) == [
        ("running", 100, 210, False),
        ("failed", 210, 900, True),
        ("terminated", 900, FOREVER, False),
    ]
    assert spans([(100, "running")], [(101, 200)])[-1] == ("failed", 210, FOREVER, True)


def test_before_an_agent_spoke_silence_says_nothing():
    assert spans([(100, "initializing")], [(500, NOW)]) == [("initializing", 100, FOREVER, False)]
    assert spans([(100, "running")], [(500, NOW)]) == [("running", 100, FOREVER, False)]
    assert spans([(NOW - 50_000, "pending")]) == [("pending", NOW - 50_000, FOREVER, False)]
    assert spans([(5, "pending")]) == [("pending", 5, 5 + 86_400, False)]


def test_ready_is_the_first_time_that_it_runs():
    found = spans_of(
        "r1", [Event(10, "pending", ""), Event(52.5, "running", "")], [AgentLife(52, NOW)], PRESENCE, NOW
    )
    assert ready_seconds(found) == 42.5


def test_a_name_that_is_used_again_is_as_ready_as_its_newest_start():
    lives = [(10, "pending"), (50, "running"), (400, "failed"), (405, "terminated"), (500, "pending")]
    starting = spans_with(lives)
    assert ready_seconds(starting) is None
    assert ready_seconds(spans_with([*lives, (520, "running")])) == 20
    assert ready_seconds(spans_with([*lives, (520, "running"), (600, "terminated")])) == 20
    # Who was first seen running: nobody knows how long that took.
    assert ready_seconds(spans_with([(10, "running")])) is None
    assert (
        ready_seconds(spans_with([(10, "pending"), (50, "running"), (400, "failed"), (500, "running")]))
        is None
    )


def spans_with(events):
    return spans_of("r1", [Event(at_s, state, "") for at_s, state in events], [], PRESENCE, NOW)


def test_an_agent_that_says_that_it_initializes_did_not_run_in_the_moment_before():
    events = [Event(100.007, "initializing", ""), Event(160, "running", "")]
    found = spans_of("r1", events, [AgentLife(100, NOW)], PRESENCE, NOW)
    assert [(span.state, span.from_s) for span in found] == [("initializing", 100), ("running", 160)]
    assert ready_seconds(found) == 60
    again = spans([(10, "running"), (500.007, "initializing"), (560, "running")], [(10, 200), (500, NOW)])
    assert [(state, from_s) for state, from_s, _, _ in again] == [
        ("running", 10), ("failed", 210), ("initializing", 500), ("running", 560),
    ]  # fmt: skip


def test_requests_that_no_replica_holds_have_no_states():
    assert spans_of("unassigned", [], [AgentLife(1, NOW)], PRESENCE, NOW) == ()


def test_running_replicas_are_counted_at_each_moment():
    found = [
        *spans_of("a", [Event(10, "running", ""), Event(30, "terminated", "")], [], PRESENCE, NOW),
        *spans_of("b", [], [AgentLife(20, NOW)], PRESENCE, NOW),
    ]
    running = RunningCount(found)
    assert [running.at(at) for at in (5, 10, 20, 29.9, 30, NOW, 2 * NOW)] == [0, 1, 2, 2, 1, 1, 1]


_EVENTS = st.lists(
    st.tuples(st.floats(0, NOW), st.sampled_from(STATES)), max_size=6, unique_by=lambda event: event[0]
)
_LIVES = st.lists(st.tuples(st.floats(0, NOW), st.floats(0, NOW)).map(sorted), max_size=4)


@given(_EVENTS, _LIVES)
def test_now_the_spans_end_in_the_state_that_open_metrics_shows(events, lives):
    events = sorted(events)
    found = spans(events, lives)
    assert all(one[2] <= other[1] for one, other in pairwise(found))
    heard = LastHeard(
        append_at=_at(max(life[1] for life in lives)) if lives else None,
        state=events[-1][1] if events else None,
        state_at=_at(events[-1][0]) if events else None,
    )
    shown = shown_state("r1", heard, PRESENCE, _at(NOW))
    running = [span for span in found if span[0] == "running" and span[2] == FOREVER]
    assert bool(running) == (shown == "running" and is_present(heard, PRESENCE, _at(NOW)))


AGES_S = st.sampled_from([0.5, 1, 2, 5, 9, 9.999, 10, 10.001, 11, 15, 20, 30, 60, 100, 200, 299])


@given(
    st.lists(st.tuples(AGES_S, AGES_S), max_size=3),
    st.dictionaries(AGES_S, st.sampled_from(STATES), max_size=4),
)
def test_the_current_span_is_the_state_that_every_other_outlet_shows(lives, events):
    in_order = [(NOW - age, state) for age, state in sorted(events.items(), reverse=True)]
    lives = [(NOW - max(ages) - 0.1, NOW - min(ages)) for ages in lives]
    heard = LastHeard(
        append_at=max((_at(last) for _, last in lives), default=None),
        state=in_order[-1][1] if in_order else None,
        state_at=_at(in_order[-1][0]) if in_order else None,
    )
    if is_present(heard, PRESENCE, _at(NOW)):
        state, _, to_s, _ = spans(in_order, lives)[-1]
        assert (state, to_s) == (shown_state("r1", heard, PRESENCE, _at(NOW)), FOREVER)


@pytest.mark.parametrize("restarted_after_s", [1, 20])
def test_a_container_that_is_restarted_at_once_initializes_until_its_agent_reports(restarted_after_s):
    """Its earlier life, heard until just before, says nothing about the new one, whose model takes a minute to load."""
    begin = 1_000 + restarted_after_s
    events = [(500, "running"), (1_000, "failed"), (begin, "initializing")]
    before = [("running", 500, 1_000, False), ("failed", 1_000, begin, False)]
    assert spans(events, [(500, 999.5)], begin + 50) == [*before, ("initializing", begin, FOREVER, False)]
    assert spans(events, [(500, 999.5), (begin + 60, begin + 90)], begin + 90) == [
        *before,
        ("initializing", begin, FOREVER, False),
    ]


def test_a_replica_that_crashes_for_a_month_has_its_spans_at_once():
    lives, events = [], []
    for number in range(8_640):
        at = 1e6 + 300 * number
        lives.append((at, at + 100))
        events += [(at + 0.2, "initializing"), (at + 2, "running"), (at + 101, "failed")]
    found = spans(events, lives, 1e6 + 300 * 8_640)
    assert [state for state, *_ in found[:3]] == ["initializing", "running", "failed"]
    assert len(found) == 3 * 8_640


def _at(at):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
