"""An agent with a spool and no Kafka: what goes to disk when, and a disk that is full, hangs or refuses."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import get_args

import pytest
from tests.support.waiting import until

from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.spool import segments
from endpoint_analytics.agents.spool.spool import Spool
from endpoint_analytics.schemas.codec import RequestEncoding, decode_replicas, decode_requests
from endpoint_analytics.schemas.packed_requests import is_packed
from endpoint_analytics.schemas.topics import AGENT_TOPICS


def left(directory, topic="requests"):
    """Take over what is in the directory, and return it."""
    spool = Spool(directory, "next", "endpoint-analytics", b"", 2**30, drop_newest=False)
    messages = []
    while (records := spool.read_adopted(topic)) is not None:
        messages += [record.message for record in records]
        spool.delete_adopted(topic)
    spool.close()
    return messages


@pytest.fixture
def start(make_config):
    """Start an agent with a spool; it is stopped at the end."""
    agents = []

    def start(directory, **settings):
        agents.append(Agent(make_config(spool=str(directory), **settings)))
        agents[-1].start()
        return agents[-1]

    yield start
    for agent in agents:
        agent.stop()


def test_a_stop_while_kafka_is_away_leaves_everything_on_disk(start, tmp_path):
    agent = start(tmp_path)
    agent.recorder.arrive().abort()
    until(lambda: agent.snapshot().flushes >= 3)
    agent.stop()
    assert agent.has_stopped
    batches = [decode_requests(message) for message in left(tmp_path)]
    assert [batch.seq for batch in batches] == list(range(agent.snapshot().flushes))
    assert batches[-1].totals == agent.snapshot().totals
    assert batches[-1].totals.aborted_pending == 1
    assert agent.snapshot().dropped["requests"] == {}


@pytest.mark.parametrize("encoding", get_args(RequestEncoding))
def test_batches_have_the_form_that_is_set(start, tmp_path, encoding):
    agent = start(tmp_path, request_encoding=encoding)
    until(lambda: agent.snapshot().flushes >= 1)
    agent.stop()
    assert {is_packed(message) for message in left(tmp_path)} == {encoding == "packed"}


def test_states_are_on_disk_too(start, tmp_path):
    agent = start(tmp_path)
    agent.stop()
    states = [decode_replicas(message).state for message in left(tmp_path, "replicas")]
    assert states == ["initializing", "terminated"]


@pytest.mark.parametrize("topic", AGENT_TOPICS, ids=lambda topic: topic.suffix)
def test_each_topic_of_an_agent_has_a_place_on_disk(start, tmp_path, topic):
    agent = start(tmp_path)
    agent._loop.call_soon_threadsafe(agent._put, topic, b"what was posted")
    agent.stop()
    assert b"what was posted" in left(tmp_path, topic.suffix)


def test_memory_holds_nothing_that_is_on_disk(start, tmp_path):
    agent = start(tmp_path, outbox_batches=50, flush_interval_s=0.01)
    until(lambda: agent.snapshot().spool.records >= 60)
    agent.stop()
    assert agent.snapshot().dropped["requests"] == {}
    assert agent.snapshot().waiting["requests"] == agent.snapshot().flushes


@pytest.mark.parametrize("drop", ["oldest", "newest"])
def test_what_the_cap_drops_is_a_reason_in_the_totals(start, tmp_path, drop):
    agent = start(tmp_path, spool_bytes=64 * 1024, spool_drop=drop, flush_interval_s=0.01)

    def work():
        for _ in range(300):
            agent.recorder.arrive().abort()
        return agent.snapshot().totals.dropped_batches.get("spool_full", 0) >= 3

    until(work)
    agent.stop()
    batches = [decode_requests(message) for message in left(tmp_path)]
    lost = agent.snapshot().flushes - len(batches)
    assert agent.snapshot().dropped["requests"] == {"spool_full": lost}
    assert agent.snapshot().spool.dropped["requests"] == {"spool_full": lost}
    seqs = [batch.seq for batch in batches]
    assert seqs == sorted(set(seqs))
    assert seqs[0] == 0  # with "oldest": it is the one that waits in the sender's hands
    assert (seqs[-1] == agent.snapshot().flushes - 1) or drop == "newest"


def test_a_disk_that_refuses_falls_back_to_memory_and_recovers(start, tmp_path, monkeypatch):
    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("endpoint_analytics.agents.delivery.spooled_topic_sender.RETRY_S", 0.05)
    write = os.write
    monkeypatch.setattr(segments.os, "write", full)
    agent = start(tmp_path, outbox_batches=5, flush_interval_s=0.02)
    until(lambda: "No space" in agent.snapshot().spool.error)
    until(lambda: agent.snapshot().totals.dropped_batches.get("buffer_full", 0) >= 3)
    monkeypatch.setattr(segments.os, "write", write)
    until(lambda: agent.snapshot().spool.records >= 10)
    agent.stop()
    assert agent.snapshot().spool.error == ""
    batches = [decode_requests(message) for message in left(tmp_path)]
    (reason, lost), *others = agent.snapshot().dropped["requests"].items()
    assert (reason, others) == ("buffer_full", [])
    assert len(batches) == agent.snapshot().flushes - lost
    assert [batch.seq for batch in batches] == sorted({batch.seq for batch in batches})
    assert batches[-1].totals.dropped_batches == {"buffer_full": lost}


def test_a_directory_that_is_a_file_leaves_the_memory(start, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    agent = start(tmp_path / "file", outbox_batches=3, flush_interval_s=0.01)
    until(lambda: agent.snapshot().totals.dropped_batches.get("buffer_full", 0) >= 3)
    agent.stop()
    reported = [record for record in caplog.records if "the spool in" in record.getMessage()]
    assert [record.levelno for record in reported] == [logging.WARNING]


def test_a_disk_that_hangs_stops_neither_flushes_nor_the_end(start, tmp_path, monkeypatch):
    goes_on = threading.Event()
    fsync = os.fsync

    def hang(fd):
        goes_on.wait(60)
        fsync(fd)

    monkeypatch.setattr(segments.os, "fsync", hang)
    agent = start(tmp_path, outbox_batches=5, flush_interval_s=0.01)
    try:
        until(lambda: agent.snapshot().totals.dropped_batches.get("buffer_full", 0) >= 20)
        assert agent.snapshot().waiting["requests"] == 5
        before = time.monotonic()
        agent.stop()
        assert agent.has_stopped
        assert time.monotonic() - before < 4.0
    finally:
        goes_on.set()
    until(lambda: not [t for t in threading.enumerate() if t.name == "endpoint-analytics-spool"])


def test_the_thread_and_the_files_are_gone_at_the_end(start, tmp_path):
    agent = start(tmp_path)
    until(lambda: agent.snapshot().spool.records >= 1)
    agent.stop()
    until(lambda: not [t for t in threading.enumerate() if t.name == "endpoint-analytics-spool"])
    open_files = [str(path.resolve()) for path in Path("/proc/self/fd").glob("*")]
    assert not [name for name in open_files if name.startswith(str(tmp_path))]


@pytest.mark.outside
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_does_not_keep_its_parents_spool(start, tmp_path):
    agent = start(tmp_path)
    until(lambda: agent.snapshot().spool.records >= 1)
    go_on, stay = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(stay)
        os.read(go_on, 1)  # lives until the parent closes its end
        os._exit(0)
    try:
        agent.stop()
        assert len(left(tmp_path)) == agent.snapshot().flushes
    finally:
        os.close(stay)
        os.close(go_on)
        os.waitpid(child, 0)
