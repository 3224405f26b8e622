"""The agent's shell without Kafka: bounded, quiet, and gone when stopped."""

from __future__ import annotations

import logging
import os
import re
import threading
import time

import pytest
from tests.support.waiting import until

from endpoint_analytics.agents.core.file_lock import locked
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.replica.process_group import runtime_directory


def test_overflow_drops_the_oldest_and_is_counted_in_the_totals(make_config):
    agent = Agent(make_config(outbox_batches=3, flush_interval_s=0.01))
    agent.start()
    agent.recorder.arrive().abort()
    until(lambda: agent.snapshot().dropped["requests"].get("buffer_full", 0) >= 5)
    agent.stop()
    snapshot = agent.snapshot()
    assert snapshot.waiting["requests"] == 3
    assert snapshot.totals.aborted_pending == 1
    dropped = snapshot.dropped["requests"]["buffer_full"]
    assert snapshot.totals.dropped_batches["buffer_full"] in {dropped, dropped - 1}


def test_kafka_away_is_one_warning_and_one_for_what_is_lost_and_no_noise_of_the_client(make_config, caplog):
    caplog.set_level(logging.INFO)
    agent = Agent(make_config())
    agent.start()
    until(lambda: agent.snapshot().flushes >= 10)
    agent.stop()
    warning, lost = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert {warning.name, lost.name} == {"endpoint_analytics"}
    assert "127.0.0.1:1" in warning.getMessage()
    assert re.search(r"Kafka did not accept 1\d messages within", lost.getMessage())
    assert not [record for record in caplog.records if record.name.startswith("aiokafka")]


def test_stopping_waits_no_longer_than_its_timeout(make_config):
    agent = Agent(make_config(stop_timeout_s=0.3))
    agent.start()
    until(lambda: agent.snapshot().flushes >= 1)
    before = time.monotonic()
    agent.stop()
    assert 0.25 < time.monotonic() - before < 2.0
    assert agent.has_stopped


def test_stopping_twice_or_unstarted_does_nothing(make_config):
    agent = Agent(make_config())
    agent.stop()
    agent.start()
    agent.stop()
    agent.stop()
    assert agent.has_stopped
    assert not agent.enter("running")


def test_no_thread_is_left(make_config):
    before = set(threading.enumerate())
    agent = Agent(make_config(hardware=True))
    agent.start()
    until(lambda: agent.snapshot().flushes >= 1)
    agent.stop()
    until(lambda: set(threading.enumerate()) <= before)


def test_states_follow_the_lifecycle(make_config):
    agent = Agent(make_config())
    assert not agent.enter("running")  # it has not started
    agent.start()
    assert agent.enter("running")
    assert not agent.enter("initializing")
    assert not agent.enter("running")
    assert agent.enter("draining", "scaled down")
    agent.stop()
    assert agent.snapshot().state == "terminated"


def test_a_failed_replica_is_not_reported_as_terminated(make_config):
    agent = Agent(make_config())
    agent.start()
    agent.enter("failed", "no weights")
    agent.stop()
    assert agent.snapshot().state == "failed"


@pytest.mark.outside
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_leaves_its_parents_agent_alone(make_config):
    agent = Agent(make_config())
    agent.start()
    child = os.fork()
    if child == 0:
        agent.stop()
        os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    flushes = agent.snapshot().flushes
    until(lambda: agent.snapshot().flushes > flushes)
    agent.stop()
    assert agent.has_stopped


def test_a_bug_of_ours_leaves_the_application_alone(make_config, caplog):
    agent = Agent(make_config())
    agent.recorder.finished.append("no request")
    agent.start()
    until(lambda: agent.has_stopped)
    request = agent.recorder.arrive()
    request.respond(200)
    request.finish()
    assert "the agent has stopped" in caplog.text
    assert agent.recorder.read_dropped() == {"recorder_full": 1}
    agent.stop()


def test_states_that_another_process_holds_up_are_reported_afterwards(make_config, monkeypatch):
    monkeypatch.setattr("endpoint_analytics.agents.replica.process_group.LOCK_WAIT_S", 0.01)
    monkeypatch.setattr("endpoint_analytics.agents.replica.agent.REPORT_AGAIN_S", 0.05)
    agent = Agent(make_config(stop_timeout_s=0.1))

    def reported() -> list[str]:
        return [path.read_text().split()[0] for path in runtime_directory().glob("*.reported")]

    with locked(runtime_directory() / "lock", 1):
        agent.start()
        agent.enter("running")
        until(lambda: agent.snapshot().flushes >= 5)
        assert agent.snapshot().waiting["replicas"] == 0
    until(lambda: reported() == ["running"])
    agent.stop()
    assert reported() == ["terminated"]
    assert agent.snapshot().waiting["replicas"] == 2  # behind the first one, which is in flight
