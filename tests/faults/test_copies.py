"""A memory snapshot restored twice: two processes continue with one boot, its numbers and its totals.

A real agent is copied while it runs, with all its memory, in the middle of its work. The copy finds its connections
broken, like one on another machine. Both then send through Kafka.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import suppress

import msgspec
import pytest
from tests.faults.rig import Rig
from tests.support.parts import Child

from endpoint_analytics.schemas.requests import Totals

AGENT = """
import asyncio, os, selectors, socket, sys, time, msgspec
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
servers, prefix, directory = sys.argv[1:]
agent = Agent(AgentConfig(namespace=prefix, endpoint="llm", replica_id="copied", flush_interval_s=0.2,
    hardware=False, kafka=KafkaConfig(bootstrap_servers=servers, topic_prefix=prefix)))
agent.start()
loop = agent._loop

def restored():
    '''What a snapshot finds elsewhere: its own selector and wake-up pipe, and connections whose peer is gone.'''
    asyncio._set_running_loop(loop)  # it knows of whose process it is
    before, loop._selector = loop._selector, selectors.EpollSelector()
    for key in list(before.get_map().values()):
        if key.fileobj is loop._ssock or key.fd == loop._ssock.fileno():
            continue
        ours, gone = socket.socketpair()
        gone.close()
        os.dup2(ours.detach(), key.fd)
        loop._selector.register(key.fd, key.events, key.data)
    loop._ssock, loop._csock = None, None
    loop._internal_fds -= 1
    loop._make_self_pipe()

def end_with_the_first():
    if os.getppid() != first:
        os._exit(0)
    loop.call_later(0.2, end_with_the_first)

def record(left, number=0):
    for request in [agent.recorder.arrive() for _ in range(3)]:
        request.respond((200, 404, 503)[number % 3])
        request.finish()
        number += 1
    if left:
        loop.call_later(0.02, record, left - 1, number)
    else:
        loop.call_later(0.5, report)

def report():
    snapshot = agent.snapshot()
    if snapshot.active or snapshot.waiting["requests"]:
        loop.call_later(0.1, report)
        return
    with open(f"{directory}/{os.getpid()}.json.part", "wb") as file:
        file.write(msgspec.json.encode(snapshot.totals))
    os.rename(file.name, file.name.removesuffix(".part"))

def snapshot_twice():
    with open(f"{directory}/before", "wb") as file:
        file.write(msgspec.json.encode(agent.snapshot().totals))
    for _ in range(copies):
        if os.fork() == 0:
            restored()
            end_with_the_first()
            break
    record(150)

copies, first = 2, os.getpid()
for number in range(60):
    request = agent.recorder.arrive()
    request.respond(200)
    request.finish()
    time.sleep(0.02)
time.sleep(0.6)  # all of it is in batches
loop.call_soon_threadsafe(snapshot_twice)
print("agent ready", agent.boot_id, flush=True)
time.sleep(3600)
"""


@pytest.mark.slow
def test_an_agent_copied_while_it_runs(rig: Rig) -> None:
    rig.worker()
    directory = rig.parts.directory / f"{rig.name}-agents"
    directory.mkdir()
    words = [sys.executable, "-c", AGENT, rig.parts.kafka.bootstrap_servers, rig.name, str(directory)]
    log = rig.parts.directory / f"{rig.name}-agent.log"
    agent = Child(words, dict(os.environ), log, r"agent ready (\w+)\n")
    rig.workers.append(agent)
    boot = agent.start()[1]
    try:
        reported = rig.eventually(
            lambda: sorted(directory.glob("*.json")), lambda found: len(found) == 3, "three totals"
        )
        before = msgspec.json.decode((directory / "before").read_bytes(), type=Totals)
        totals = [msgspec.json.decode(path.read_bytes(), type=Totals) for path in reported]
        arrived = sum(each.arrived for each in totals) - 2 * before.arrived
        statuses = Counter[str]()
        for each in totals:
            statuses.update(each.status)
        statuses.subtract({status: 2 * count for status, count in before.status.items()})
        assert arrived > 3 * 400

        def counted() -> list[tuple[object, ...]]:
            return rig.rows(
                "SELECT sum(arrived), sum(finished), sumMap(status_codes, status_counts), sum(missing), max(copies),"
                " (SELECT sum(arrived) FROM request_windows FINAL), uniqExact(boot_id)"
                " FROM boots FINAL WHERE stream = 'requests'"
            )

        due = sorted((int(status), count) for status, count in statuses.items())
        expected = (arrived, arrived, (tuple(s for s, _ in due), tuple(n for _, n in due)), 0, 2, arrived, 3)

        def found() -> list[tuple[object, ...]]:
            [(a, f, (codes, counts), missing, copies, windows, boots)] = counted()
            return [(a, f, (tuple(codes), tuple(counts)), missing, copies, windows, boots)]

        rig.eventually(found, lambda rows: rows == [expected], f"three processes of one boot: {expected}")
        assert set(rig.rows("SELECT boot_id, copy_of FROM boots FINAL WHERE stream = 'requests'")) == {
            (boot, ""), (f"{boot}~2", boot), (f"{boot}~3", boot)
        }  # fmt: skip
    finally:
        agent.kill()
        for path in directory.glob("*.json"):
            with suppress(ProcessLookupError):
                if int(path.stem) != agent.pid:
                    os.kill(int(path.stem), 9)
    rig.replay()
    rig.worker("replayer")
    rig.wait_for_last_chunks()
    assert found() == [expected]


@pytest.mark.slow
def test_copied_replicas_of_a_fleet(rig: Rig) -> None:
    """Many copies, with resent and delayed batches, and a worker that is killed meanwhile."""
    worker = rig.worker()
    sending = rig.send_steadily(
        9, rate=8.0, copies=0.05, duplicates=0.05, late=0.05, restarts=0.02, hardware=True
    )
    rig.wait_for_commits()
    worker.kill()
    rig.worker()
    sending.join()
    rig.verify("replicas copied while they run, worker killed")
    assert rig.rows("SELECT count() FROM boots FINAL WHERE copy_of != ''") > [(0,)]
