"""What guards the promise from without: a log whose head is gone, floods of names and of unusable messages, a
database that takes nothing, and an agent's spool."""

from __future__ import annotations

import asyncio
import http.client
import os
import sys
import time
from collections import Counter

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from tests.faults.clickhouse_proxy import PASS, READ_ONLY
from tests.faults.kafka_proxy import KafkaProxy
from tests.faults.rig import SETTLED_WITHIN_S, Parts, Rig
from tests.parts import Child, eventually

from endpoint_analytics.infra.fleet.sender import Message, Sender
from endpoint_analytics.infra.kafka.port import free_port
from endpoint_analytics.schemas.topics import REQUESTS

TRAFFIC = {"rate": 8.0, "duplicates": 0.1, "late": 0.05, "restarts": 0.02}


def trim(rig: Rig, before: dict[int, int]) -> None:
    """Delete the messages of the requests topic before an offset of each partition, as retention does."""

    async def delete() -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=rig.parts.kafka.bootstrap_servers)
        await client.start()
        try:
            topic = REQUESTS.name(rig.name)
            await client.delete_records(
                {TopicPartition(topic, number): RecordsToDelete(offset) for number, offset in before.items()}
            )
        finally:
            await client.close()

    asyncio.run(delete())


def test_the_head_of_the_log_is_gone_and_offsets_are_reset(rig: Rig) -> None:
    """The log begins within a chunk that is stored: its rest must not be counted into another chunk."""
    worker = rig.worker()
    rig.send_steadily(6, **TRAFFIC).join()
    rig.judge("before the head is gone")
    assert worker.stop(30) == 0
    middle = {
        partition: chunk + (version - chunk) // 2
        for partition, chunk, version in rig.rows(
            "SELECT partition, argMax(chunk, version - chunk) AS longest, argMax(version, version - chunk)"
            " FROM chunks FINAL WHERE stream = 'requests' GROUP BY partition"
        )
    }
    trim(rig, middle)
    for _ in range(2):
        rig.replay()
        worker = rig.worker("replayer")
        rig.send_steadily(3, name=f"{rig.name}-more-{time.monotonic_ns()}", **TRAFFIC).join()
        rig.wait_for_last_chunks()
        rig.judge("the log trimmed within a chunk, offsets reset")
        worker.kill()


@pytest.mark.slow
def test_the_head_is_gone_up_to_within_the_open_chunk(rig: Rig) -> None:
    """The worker was away for longer than the log is kept; of its open chunk a part is stored, and a part is gone."""
    worker = rig.worker()
    rig.send_fast(12, **TRAFFIC)
    rig.judge("an open chunk, stored and not committed")
    worker.kill()
    trim(
        rig,
        {
            partition: chunk + (version - chunk) // 2 + 1
            for partition, chunk, version in rig.rows(
                "SELECT partition, max(chunk), max(version) FROM chunks FINAL WHERE stream = 'requests'"
                " GROUP BY partition"
            )
        },
    )
    rig.worker()
    rig.send_steadily(4, name=f"{rig.name}-more", **TRAFFIC).join()
    rig.judge("the log trimmed within the open chunk")


def test_a_flood_of_unusable_messages_ends_the_worker(rig: Rig) -> None:
    """Loudly, and without a loss: told to go on, the next worker counts each of them."""

    async def flood() -> None:
        async with Sender(rig.parts.kafka.bootstrap_servers) as sender:
            bad = Message(REQUESTS.name(rig.name), b"flood", b"{}", lambda *_: None)
            await sender.deliver([bad] * 2500)

    rig.send_fast(3, **TRAFFIC)
    asyncio.run(flood())
    worker = rig.worker()
    assert worker.process.wait(60) == 3
    assert "of the last" in worker.log.read_text()
    rig.worker("worker-1", "--max-rejected-share", "1")
    rig.judge("2,500 unusable messages: ended loudly, told to go on", rejected=Counter(wrong_shape=2500))


@pytest.mark.slow
def test_a_worker_that_cannot_store_is_not_ready(rig: Rig) -> None:
    port = free_port("127.0.0.1")
    rig.worker("worker-1", "--health-port", str(port))

    def ready() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status
        finally:
            connection.close()

    eventually(ready, lambda status: status == 200, 30, "ready")
    rig.proxy.rule = lambda request: READ_ONLY if request.is_insert else PASS
    sending = rig.send_steadily(3, **TRAFFIC)
    eventually(ready, lambda status: status == 503, 30, "not ready")
    rig.proxy.rule = lambda _: PASS
    eventually(ready, lambda status: status == 200, 30, "ready again")
    sending.join()
    rig.judge("not ready while refused, ready again")


@pytest.mark.slow
def test_a_flood_of_boots_is_counted_together(parts: Parts) -> None:
    """Totals are kept, the overflow is shown as such, and another namespace is exact."""
    parts.mend()
    rig = Rig(parts, "flood-of-boots", partitions=1, chunk_ms=3_600_000, chunk_offsets=1_000_000)
    try:
        flood_of_boots(rig)
    finally:
        rig.close()


def flood_of_boots(rig: Rig) -> None:
    worker = rig.worker()
    rig.send_fast(3, name=f"{rig.name}-calm", **TRAFFIC)
    flood = rig.fleet(name="flood", replicas=4_000, rate=2.0, endpoints=3)
    rig.fleets.remove(flood)
    asyncio.run(flood.run_fast(1))
    rig.send_fast(3, name=f"{rig.name}-calm-too", **TRAFFIC)
    accepted = [boot.accepted for boot in flood.truth.boots.values()]
    expected = (sum(counts.arrived for counts in accepted), sum(counts.finished for counts in accepted))

    def stored() -> tuple[int, int]:
        return rig.rows(
            "SELECT sum(arrived), sum(finished) FROM request_windows FINAL WHERE namespace = 'flood'"
        )[0]

    eventually(stored, lambda found: found == expected, SETTLED_WITHIN_S, f"all of the flood: {expected}")
    [(overflow,)] = rig.rows(
        "SELECT sum(arrived) FROM request_windows FINAL WHERE namespace = 'flood' AND replica_id = '__overflow__'"
    )
    assert 0 < overflow < expected[0]
    worker.kill()
    rig.worker()
    rig.send_fast(1, name=f"{rig.name}-calm-again", **TRAFFIC)
    rig.judge(f"a flood of 4,000 boots, {overflow} events as overflow")
    assert stored() == expected


SPOOLER = """
import sys, time
from endpoint_analytics.agents.agent import Agent
from endpoint_analytics.agents.config import AgentConfig, KafkaConfig
servers, prefix, spool = sys.argv[1:]
agent = Agent(AgentConfig(namespace=prefix, endpoint="llm", replica_id="spooler", flush_interval_s=0.1,
    hardware=False, spool=spool, kafka=KafkaConfig(bootstrap_servers=servers, topic_prefix=prefix)))
agent.start()
print("agent ready", agent.boot_id, flush=True)
number = 0
while True:
    for request in [agent.recorder.arrive() for _ in range(5)]:
        request.respond((200, 404, 503)[number % 3])
        request.finish()
        number += 1
    print(number, flush=True)
    time.sleep(0.02)
"""


def test_an_agent_killed_in_an_outage_and_its_spool_replayed_twice(rig: Rig) -> None:
    """What it recorded a second before its death is counted, once; so is what its heirs send again."""
    rig.worker()
    at_least: dict[str, int] = {}
    with KafkaProxy(rig.parts.kafka.bootstrap_servers) as between:

        def start(number: int) -> tuple[Child, str]:
            words = [sys.executable, "-c", SPOOLER, between.bootstrap_servers, rig.name,
                     str(rig.parts.folder / f"{rig.name}-spool")]  # fmt: skip
            log = rig.parts.folder / f"{rig.name}-agent-{number}.log"
            agent = Child(words, dict(os.environ), log, r"agent ready (\w+)\n")
            rig.workers.append(agent)
            return agent, agent.start()[1]

        first, boot = start(0)
        time.sleep(1.5)
        between.shut()
        time.sleep(2.5)
        recorded = last_number(first)
        time.sleep(1.5)
        first.kill()
        at_least[boot] = recorded
        between.open()
        second, _ = start(1)  # replays the first's spool, and is killed meanwhile or soon after
        time.sleep(0.6)
        second.kill()
        start(2)
        time.sleep(3)

        def counted() -> list[str]:
            rows = {
                row[0]: row[1:]
                for row in rig.rows(
                    "SELECT boot_id, arrived, agent_arrived, finished, agent_finished, missing FROM boots FINAL"
                    " WHERE stream = 'requests'"
                )
            }
            if boot not in rows:
                return ["the first boot is not there"]
            arrived, agent_arrived, finished, agent_finished, missing = rows[boot]
            wrong = (
                [] if arrived >= at_least[boot] else [f"{arrived} arrived, {at_least[boot]} were recorded"]
            )
            if (arrived, finished, missing) != (agent_arrived, agent_finished, 0):
                wrong.append(f"{rows[boot]}")
            return wrong

        eventually(counted, lambda wrong: not wrong, 60, "the killed agent's events")
        rig.workers[-1].kill()

    def every_boot() -> list[tuple[object, ...]]:
        return rig.rows(
            "SELECT * FROM (SELECT boot_id, arrived, agent_arrived, finished, agent_finished, missing FROM boots FINAL"
            " WHERE stream = 'requests') WHERE arrived != agent_arrived OR finished != agent_finished OR missing != 0"
        )

    eventually(every_boot, lambda wrong: not wrong, 60, "boots that differ from their agent's totals")
    sums = rig.rows(
        "SELECT sum(b.arrived), (SELECT sum(arrived) FROM request_windows FINAL) FROM boots AS b FINAL"
        " WHERE stream = 'requests'"
    )
    assert sums[0][0] == sums[0][1]
    key_of = rig.rows("SELECT namespace, endpoint, replica_id, boot_id, arrived, finished FROM boots FINAL"
                      " WHERE stream = 'requests'")  # fmt: skip
    assert len(key_of) == 3
    rig.judge("agent killed in an outage, its spool replayed twice")


def last_number(agent: Child) -> int:
    """Return what the agent said last that it recorded."""
    os.set_blocking(agent.process.stdout.fileno(), False)
    said = b""
    while piece := agent.process.stdout.read():
        said += piece
    return int(said.split(b"\n")[-2])
