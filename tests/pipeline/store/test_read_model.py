"""One judgement of replicas for every outlet: present, running, unknown, late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import PartitionProgress, Progress
from endpoint_analytics.pipeline.store.read_model import AgentReport, Moment, StateReport

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
REQUESTS, HARDWARE, REPLICAS = ("requests", 3), ("hardware", 1), ("replicas", 0)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def moment(**read_to_s_ago: float) -> Moment:
    """A pipeline whose partitions were read up to so many seconds ago, steadily for an hour."""
    names = {"requests": REQUESTS, "hardware": HARDWARE, "replicas": REPLICAS}
    progress = {
        names[stream]: PartitionProgress(ago(seconds), ago(3600)) for stream, seconds in read_to_s_ago.items()
    }
    return Moment(Progress(progress), Presence(), NOW)


CURRENT = moment(requests=0.5, hardware=0.5, replicas=0.5)


def agent(seconds: float) -> AgentReport:
    return AgentReport(ago(seconds), REQUESTS, REQUESTS[1])


def test_a_replica_that_reports_runs():
    found = CURRENT.replica("r1", agent(1), StateReport("running", ago(60), 0))
    assert (found.state, found.is_present, found.is_alive, found.is_late) == ("running", True, True, False)
    assert found.unknown_since is None
    assert found.partitions == (REQUESTS, REPLICAS)
    assert (CURRENT.running([found]), CURRENT.unknown_since([found])) == (1, None)


def test_a_silent_one_has_failed_and_is_counted_as_not_running():
    found = CURRENT.replica("r1", agent(30), None)
    assert (found.state, found.is_present, found.is_alive) == ("failed", True, False)
    assert CURRENT.running([found]) == 0


def test_while_its_partition_is_late_nothing_is_known_of_the_endpoint():
    late = moment(requests=30, hardware=0.5, replicas=0.5)
    lost = late.replica("r1", agent(31), None)
    well = late.replica("r2", AgentReport(ago(1), HARDWARE, None), None)
    assert (lost.state, lost.unknown_since, lost.is_late) == ("unknown", ago(30), True)
    assert (well.state, well.unknown_since, well.is_late) == ("running", None, False)
    assert late.running([well]) == 1
    assert (late.running([lost, well]), late.unknown_since([lost, well])) == (None, ago(30))


def test_without_a_replica_a_late_partition_may_hold_one():
    assert (CURRENT.running([]), CURRENT.unknown_since([])) == (0, None)
    late = moment(requests=30, hardware=0.5)
    assert (late.running([]), late.unknown_since([])) == (None, ago(30))


def test_one_that_is_gone_says_nothing():
    gone = CURRENT.replica("r1", agent(3600), StateReport("terminated", ago(3600), 0))
    assert (gone.is_present, gone.state, gone.unknown_since, gone.is_late) == (
        False,
        "terminated",
        None,
        False,
    )
    assert CURRENT.running([gone]) == 0


def test_whether_an_agent_reports_is_judged_where_its_partition_was_read_to():
    late = moment(requests=30)
    assert late.is_reporting(ago(35), REQUESTS)
    assert not late.is_reporting(ago(45), REQUESTS)
    assert not CURRENT.is_reporting(ago(35), REQUESTS)
    assert (late.is_late(REQUESTS), CURRENT.is_late(REQUESTS), late.is_late(HARDWARE)) == (True, False, True)
