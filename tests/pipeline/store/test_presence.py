from datetime import UTC, datetime, timedelta

import pytest

from endpoint_analytics.pipeline.store.presence import LastHeard, Presence, is_alive, is_present, shown_state
from endpoint_analytics.schemas.identity import UNASSIGNED

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PRESENCE = Presence()


def heard(append_age_s=None, state=None, state_age_s=None) -> LastHeard:
    def at(age_s):
        return None if age_s is None else NOW - timedelta(seconds=age_s)

    return LastHeard(at(append_age_s), state, at(state_age_s))


@pytest.mark.parametrize(
    ("last", "state"),
    [
        (heard(1), "running"),
        (heard(11), "failed"),
        (heard(1, "running", 100), "running"),
        (heard(11, "running", 100), "failed"),
        (heard(11, "draining", 100), "failed"),
        (heard(11, "initializing", 100), "failed"),
        (heard(11, "terminated", 100), "terminated"),
        (heard(11, "running", 5), "running"),
        (heard(60, "initializing", 30), "initializing"),
        (heard(1, "draining", 3), "draining"),
        (heard(None, "downloading", 1000), "downloading"),
        (heard(None, "running", 1000), "running"),
        (heard(None, "failed", 10), "failed"),
    ],
)
def test_shown_state(last, state):
    assert shown_state("r1", last, PRESENCE, NOW) == state


def test_requests_that_no_replica_holds_have_no_state():
    assert shown_state(UNASSIGNED, heard(1), PRESENCE, NOW) is None


@pytest.mark.parametrize(
    ("last", "present"),
    [
        (heard(), False),
        (heard(299), True),
        (heard(301), False),
        (heard(301, "terminated", 299), True),
        (heard(400, "running", 350), False),
        (heard(None, "terminated", 301), False),
        (heard(None, "downloading", 4000), True),
        (heard(None, "running", 4000), True),
        (heard(None, "running", 90_000), False),
        (heard(4000, "pulling", 3000), True),
        (heard(3000, "pulling", 4000), False),
    ],
)
def test_is_present(last, present):
    assert is_present(last, PRESENCE, NOW) == present


def test_an_agent_lives_for_the_heartbeat_timeout():
    assert is_alive(heard(10), PRESENCE, NOW)
    assert not is_alive(heard(10.1), PRESENCE, NOW)
    assert not is_alive(heard(None, "running", 1), PRESENCE, NOW)
