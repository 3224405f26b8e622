"""One judgement of replicas for every outlet: present, running, unknown, late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import Progress, ReportedProgress
from endpoint_analytics.pipeline.store.read_model import (
    AgentReport,
    Moment,
    RequestLevels,
    RequestReport,
    StateReport,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
REQUESTS, HARDWARE, REPLICAS = ("requests", 3), ("hardware", 1), ("replicas", 0)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def moment(**read_to_s_ago: float) -> Moment:
    """A pipeline whose partitions were read up to so many seconds ago, steadily for an hour."""
    names = {"requests": REQUESTS, "hardware": HARDWARE, "replicas": REPLICAS}
    progress = {
        names[stream]: ReportedProgress(ago(seconds), ago(3600)) for stream, seconds in read_to_s_ago.items()
    }
    return Moment(Progress(progress), Presence(), NOW)


CURRENT = moment(requests=0.5, hardware=0.5, replicas=0.5)


def agent(seconds: float) -> AgentReport:
    return AgentReport(
        ago(seconds), REQUESTS, REQUESTS[1], (RequestReport(ago(seconds), REQUESTS[1], 3, 2, 70),)
    )


def test_a_replica_that_reports_runs():
    found = CURRENT.replica("r1", agent(1), StateReport("running", ago(60), 0))
    assert (found.state, found.is_present, found.is_alive) == ("running", True, True)
    assert found.levels == RequestLevels(3, 2, 70)
    assert found.unknown_since is None
    assert found.partitions == (REQUESTS, REPLICAS)
    assert (CURRENT.running([found]), CURRENT.unknown_since([found])) == (1, None)


def test_a_silent_one_has_failed_and_is_counted_as_not_running():
    found = CURRENT.replica("r1", agent(30), None)
    assert (found.state, found.is_present, found.is_alive) == ("failed", True, False)
    assert found.levels == RequestLevels(0, 0, 0)
    assert CURRENT.running([found]) == 0


def test_while_its_partition_is_late_nothing_is_known_of_the_endpoint():
    late = moment(requests=30, hardware=0.5, replicas=0.5)
    lost = late.replica("r1", agent(31), None)
    well = late.replica("r2", AgentReport(ago(1), HARDWARE, None), None)
    assert (lost.state, lost.unknown_since, lost.levels) == ("unknown", ago(30), None)
    assert (well.state, well.unknown_since, well.reports_requests) == ("running", None, False)
    assert late.running([well]) == 1
    assert (late.running([lost, well]), late.unknown_since([lost, well])) == (None, ago(30))


def test_without_a_replica_a_late_partition_may_hold_one():
    assert (CURRENT.running([]), CURRENT.unknown_since([])) == (0, None)
    late = moment(requests=30, hardware=0.5)
    assert (late.running([]), late.unknown_since([])) == (None, ago(30))


def test_a_partition_that_nobody_read_for_90_days_holds_nobody():
    """Such as one of a topic that was made again with fewer partitions: its progress stays."""
    day_s = 86_400
    paused, gone = (moment(requests=0.5, hardware=days * day_s) for days in (89, 91))
    assert (paused.running([]), paused.unknown_since([])) == (None, ago(2 * day_s))
    assert (gone.running([]), gone.unknown_since([])) == (0, None)
    assert gone.progress.judged_from(NOW, Presence()) == ago(0.5)
    stands_still = moment(requests=91 * day_s, hardware=100 * day_s)
    assert stands_still.unknown_since([]) == ago(2 * day_s)


def test_one_that_is_gone_says_nothing():
    gone = CURRENT.replica("r1", agent(3600), StateReport("terminated", ago(3600), 0))
    assert (gone.is_present, gone.state, gone.unknown_since, gone.levels) == (False, "terminated", None, None)
    assert CURRENT.running([gone]) == 0


def test_whether_an_agent_reports_is_judged_where_its_partition_was_read_to():
    late = moment(requests=30)
    assert late.is_reporting(ago(35), REQUESTS)
    assert not late.is_reporting(ago(45), REQUESTS)
    assert not CURRENT.is_reporting(ago(35), REQUESTS)
    assert (late.is_late(REQUESTS), CURRENT.is_late(REQUESTS), late.is_late(HARDWARE)) == (True, False, True)


def resumed(seconds_ago: float, stopped_s_ago: float = 60) -> Moment:
    """A pipeline that stood still, and reads all partitions again since so many seconds."""
    resumed = ReportedProgress(NOW, ago(seconds_ago), ago(stopped_s_ago))
    return Moment(
        Progress(dict.fromkeys((REQUESTS, HARDWARE, REPLICAS), resumed)),
        Presence(),
        NOW,
    )


def held(*append_s_ago: float) -> AgentReport:
    """The processes of a replica, each of which held one request when it last reported."""
    reports = tuple(RequestReport(ago(seconds), REQUESTS[1], 1) for seconds in append_s_ago)
    return AgentReport(ago(min(append_s_ago)), REQUESTS, REQUESTS[1], reports)


def test_after_an_outage_requests_are_unknown_until_the_agents_had_the_time_to_report():
    """Their state is unknown then, and none of what they held may be shown as 0."""
    for state in (None, StateReport("running", ago(900), 0)):
        found = resumed(4).replica("r1", held(60), state)
        assert (found.state, found.levels, found.reports_requests) == ("unknown", None, True)
        assert resumed(4).running([found]) is None
        found = resumed(11).replica("r1", held(60), state)
        assert (found.state, found.levels) == ("failed", RequestLevels(0, 0, 0))


def test_after_an_outage_a_sum_waits_for_each_process_that_was_alive_before():
    assert resumed(4).replica("r1", held(1, 60), None).levels is None
    assert resumed(4).replica("r1", held(1, 2), None).levels == RequestLevels(2, 0, 0)
    # The last one had ended long before the outage.
    assert resumed(4).replica("r1", held(1, 5, 200), None).levels == RequestLevels(2, 0, 0)
    assert resumed(4).replica("r1", held(1, 60, 200), None).levels is None
    assert resumed(11).replica("r1", held(1, 60), None).levels == RequestLevels(1, 0, 0)


def test_nobody_departs_while_nothing_could_be_read():
    """An outage of an hour: all that was alive before is present, and unknown, until it had the time to report."""
    for state in (None, StateReport("running", ago(4000), 0), StateReport("draining", ago(3605), 0)):
        found = resumed(4, 3600).replica("r1", held(3601), state)
        assert (found.is_present, found.state, found.levels) == (True, "unknown", None)
        back = resumed(4, 3600).replica("r2", held(1), None)
        assert (back.state, back.levels) == ("running", RequestLevels(1, 0, 0))
        assert resumed(4, 3600).running([found, back]) is None
        assert resumed(4, 3600).unknown_since([found, back]) == ago(3591)
        assert not resumed(11, 3600).replica("r1", held(3601), state).is_present
    assert resumed(11, 3600).running([back]) == 1


def test_what_was_silent_before_reading_stopped_is_known_to_have_failed():
    found = resumed(4).replica("r1", held(90), StateReport("running", ago(900), 0))
    assert (found.is_present, found.state, found.levels) == (True, "failed", RequestLevels(0, 0, 0))
    assert resumed(4).running([found]) == 0
    ended = resumed(4, 3600).replica("r1", held(3700), StateReport("terminated", ago(3700), 0))
    assert (ended.is_present, ended.state, ended.unknown_since) == (True, "terminated", None)
    long_gone = resumed(4, 3600).replica("r1", held(4000), StateReport("running", ago(4500), 0))
    assert not long_gone.is_present


def test_queries_reach_back_to_where_reading_stopped():
    assert resumed(11, 3600).progress.judged_from(NOW, Presence()) == NOW
    assert resumed(4, 3600).progress.judged_from(NOW, Presence()) == ago(3600)
    assert resumed(4, 1e6).progress.judged_from(NOW, Presence()) == ago(2 * 86_400)
    assert moment(requests=30).progress.judged_from(NOW, Presence()) == ago(30)


def test_a_replica_that_has_ended_holds_nothing_whatever_happened_since():
    found = resumed(4).replica("r1", held(60), StateReport("terminated", ago(60), 0))
    assert (found.state, found.levels) == ("terminated", RequestLevels(0, 0, 0))


def test_processes_are_judged_by_their_own_partitions():
    """One partition that lags a little makes no dead process of another one hold its requests for longer."""
    progress = {
        REQUESTS: ReportedProgress(ago(9), ago(3600)),
        ("requests", 4): ReportedProgress(ago(0.5), ago(3600)),
    }
    slow = Moment(Progress(progress), Presence(), NOW)
    reports = RequestReport(ago(15), 3, 1), RequestReport(ago(15), 4, 50), RequestReport(ago(1), 4, 7)
    found = slow.replica("r1", AgentReport(ago(1), ("requests", 4), 4, reports), None)
    assert found.levels == RequestLevels(8, 0, 0)
