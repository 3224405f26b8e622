"""Protection against external causes: a log whose head was deleted, floods of names and of unusable messages, a
database that accepts nothing, and an agent's spool."""

from __future__ import annotations

import asyncio
import http.client
import os
import sys
import time
from collections import Counter

import pytest
from aiokafka.partitioner import DefaultPartitioner
from tests.faults.clickhouse_proxy import PASS, Fate, Request
from tests.faults.kafka_proxy import KafkaProxy
from tests.faults.refusals import Refusal
from tests.faults.rig import FleetRun, Parts, Rig
from tests.support.parts import Child
from tests.support.waiting import eventually

from endpoint_analytics.infra.deploy.topics import ensure_topics
from endpoint_analytics.infra.fleet.sender import FleetSender, Message
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.topics import HARDWARE, REJECTED, REQUESTS, Topic

TRAFFIC = {"rate": 8.0, "duplicates": 0.1, "late": 0.05, "restarts": 0.02}


@pytest.mark.slow
def test_the_head_of_the_log_is_gone_and_offsets_are_reset(rig: Rig) -> None:
    """The log begins within a stored chunk, the rest of which must not be counted into another chunk."""
    worker = rig.worker()
    rig.send_steadily(6, **TRAFFIC).join()
    rig.verify("before the head is gone")
    assert worker.stop(30) == 0
    middle = {
        partition: chunk + (version - chunk) // 2
        for partition, chunk, version in rig.rows(
            "SELECT partition, argMax(chunk, version - chunk) AS longest, argMax(version, version - chunk)"
            " FROM chunks FINAL WHERE stream = 'requests' GROUP BY partition"
        )
    }
    rig.trim(middle)
    for _ in range(2):
        rig.replay()
        worker = rig.worker("replayer")
        rig.send_steadily(3, name=f"{rig.name}-more-{time.monotonic_ns()}", **TRAFFIC).join()
        rig.wait_for_last_chunks()
        rig.verify("the log trimmed within a chunk, offsets reset")
        worker.kill()


@pytest.mark.slow
def test_the_head_is_gone_up_to_within_the_open_chunk(rig: Rig) -> None:
    """The worker was down for longer than the log's retention; its open chunk is partly stored and partly deleted."""
    worker = rig.worker()
    rig.send_fast(12, **TRAFFIC)
    rig.verify("an open chunk, stored and not committed")
    worker.kill()
    rig.trim(
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
    rig.verify("the log trimmed within the open chunk")


def flood(rig: Rig, number: int, topic: Topic = REQUESTS) -> None:
    """Send unusable messages under one key: to one partition."""

    async def send() -> None:
        async with FleetSender(KafkaConfig(bootstrap_servers=rig.parts.kafka.bootstrap_servers)) as sender:
            bad = Message(topic.name(rig.name), b"flood", b"{}", lambda *_: None)
            await sender.deliver([bad] * number)

    asyncio.run(send())


def page(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_flood_of_unusable_messages_pauses_its_partition_alone(rig: Rig) -> None:
    """The pause is reported, even after a restart; all others continue; it resumes by itself once it is healthy."""
    port = free_port("127.0.0.1")
    flood(rig, 2_100)
    worker = rig.worker("worker-1", "--health-port", str(port))

    def paused() -> list[tuple[object, ...]]:
        return rig.rows("SELECT stream, partition, next_offset FROM paused_partitions FINAL WHERE paused = 1")

    [(stream, partition, next_offset)] = rig.eventually(paused, bool, "a paused partition")
    assert stream == "requests"
    assert next_offset <= 2_100
    status, text = page(port, "/ready")
    assert status == 200
    assert f"degraded: {rig.name}.requests/{partition} is paused at offset {next_offset}" in text
    assert 'worker_paused_partitions{stream="requests"} 1' in page(port, "/metrics")[1]

    # Replicas whose partition is another are as well as ever.
    beside = rig.fleet(name=f"{rig.name}-beside", replicas=30, **TRAFFIC)
    beside.replicas = [r for r in beside.replicas if partition_of(r.key, rig.partitions) != partition]
    assert len(beside.replicas) > 10
    asyncio.run(beside.run_fast(5))
    eventually(lambda: rig.stored_batches(), lambda found: found >= beside.truth.batches, 120, "the others")
    assert paused() == [(stream, partition, next_offset)]

    worker.kill()
    worker = rig.worker("worker-1", "--health-port", str(port))
    rig.send_fast(1, name=f"{rig.name}-elsewhere", replicas=1)  # so that it has read and not only started
    eventually(
        lambda: page(port, "/ready")[1], lambda text: "degraded" in text, 120, "paused after a restart"
    )
    assert worker.process.poll() is None

    rig.send_fast(3, name=f"{rig.name}-well", **TRAFFIC)
    rig.verify("2,100 unusable messages: paused alone, well by itself", rejected=Counter(wrong_shape=2100))
    assert paused() == []


NO_REJECTED = Refusal(
    "what is rejected",
    REJECTED.suffix,
    "VIOLATED_CONSTRAINT",
    ("ALTER TABLE {t} ADD CONSTRAINT refusing CHECK 0",),
    ("ALTER TABLE {t} DROP CONSTRAINT IF EXISTS refusing",),
)


@pytest.mark.slow
def test_a_stream_that_cannot_be_stored_stops_no_other(rig: Rig) -> None:
    """Far more of it is waiting than the queue's limit, and meanwhile the others are not affected."""
    stuck = 20_000
    flood(rig, stuck, HARDWARE)
    rig.refuse(NO_REJECTED)
    rig.worker("worker-1", "--max-rejected-share", "1")
    sent = rig.send_fast(20, **TRAFFIC)
    rig.eventually(rig.stored_batches, lambda found: found >= sent.batches, "the batches of requests")

    def late_s() -> list[tuple[object, ...]]:
        return rig.rows(
            "SELECT toFloat64(max(now64(3) - read_to)) FROM partition_progress FINAL WHERE stream = 'requests'"
        )

    rig.eventually(late_s, lambda found: found[0][0] < 5, "how far requests are read, up to date")
    assert rig.rejections() == Counter()
    rig.accept(NO_REJECTED)
    rig.verify("what is rejected cannot be stored", rejected=Counter(wrong_shape=stuck))


def partition_of(key: bytes, partitions: int) -> int:
    return DefaultPartitioner()(key, list(range(partitions)), list(range(partitions)))


@pytest.mark.slow
def test_a_rejected_topic_that_is_missing_stops_nothing(parts: Parts) -> None:
    """Unusable messages are still in the table, and the worker reports what is wrong."""
    parts.repair()
    port = free_port("127.0.0.1")
    rig = Rig(parts, "no-rejected-topic", topics=False)
    try:
        specs = [spec for spec in rig.topics() if not spec.name.endswith(REJECTED.suffix)]
        asyncio.run(ensure_topics(parts.kafka.bootstrap_servers, specs))
        rig.worker("worker-1", "--health-port", str(port))
        rig.send_fast(3, poison=0.1, **TRAFFIC)
        rig.verify("poison, and no topic for what is rejected")
        assert f"degraded: the topic {REJECTED.name(rig.name)} is missing" in page(port, "/ready")[1]
    finally:
        rig.close()


@pytest.mark.slow
def test_a_paused_partition_is_resumed_by_a_command(rig: Rig) -> None:
    """All messages there are unusable: they are rejected, one by one."""
    flood(rig, 2_500)
    rig.worker()
    [(partition,)] = rig.eventually(
        lambda: rig.rows("SELECT partition FROM paused_partitions FINAL WHERE paused = 1"), bool, "a pause"
    )
    assert rig.command("partitions", "list").startswith(f"requests/{partition} paused since ")
    assert "resumes within seconds" in rig.command("partitions", "resume", "requests", str(partition))
    rig.verify("2,500 unusable messages: resumed by a command", rejected=Counter(wrong_shape=2500))
    assert rig.command("partitions", "list") == "no partition is paused\n"


@pytest.mark.slow
def test_a_bad_sender_beside_good_ones_pauses_nothing(rig: Rig) -> None:
    """However much it sends: most senders in its partition are healthy."""
    rig.worker()
    sending = rig.send_steadily(12, replicas=30, **TRAFFIC)
    rig.eventually(rig.stored_batches, lambda found: found > 60, "the good ones")
    for _ in range(6):
        flood(rig, 2_000)
    sending.join()
    rig.verify("12,000 unusable messages of one sender", rejected=Counter(wrong_shape=12_000))
    assert rig.rows("SELECT count() FROM paused_partitions") == [(0,)]


@pytest.mark.slow
def test_a_flood_of_boots_is_counted_together(parts: Parts) -> None:
    """Totals are kept, the overflow is shown as such, and another namespace is exact."""
    parts.repair()
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

    rig.eventually(stored, lambda found: found == expected, f"all of the flood: {expected}")
    [(overflow,)] = rig.rows(
        "SELECT sum(arrived) FROM request_windows FINAL WHERE namespace = 'flood' AND replica_id = '__overflow__'"
    )
    assert 0 < overflow < expected[0]
    worker.kill()
    rig.worker()
    rig.send_fast(1, name=f"{rig.name}-calm-again", **TRAFFIC)
    rig.verify(f"a flood of 4,000 boots, {overflow} events as overflow")
    assert stored() == expected


@pytest.mark.slow
def test_a_flood_of_names_keeps_nobody_waiting(rig: Rig) -> None:
    """The state of thousands of new boots is read at once; rows of another namespace keep arriving meanwhile."""
    rig.worker()
    calm = rig.send_steadily(20, name=f"{rig.name}-calm", replicas=12, **TRAFFIC)
    rig.wait_for_commits(1)
    names = 6_000
    flood = rig.fleet(name=f"{rig.name}-flood", replicas=names, rate=0.5, restarts=1.0)
    reads = [0]

    def count(request: Request) -> Fate:
        reads[0] += not request.is_insert
        return PASS

    rig.proxy.rule = count
    flooding = FleetRun(flood, flood.run_fast(3))  # each round is a new boot of each
    ages = []
    while calm.is_running:
        [(age_s,)] = rig.rows(
            "SELECT dateDiff('ms', max(last_append), now64(3)) / 1000 FROM boots FINAL"
            " WHERE stream = 'requests' AND endsWith(namespace, '-calm')"
        )
        ages.append(age_s)
        time.sleep(0.1)
    flooding.join()
    calm.join()
    ages.sort()
    reported = f"rows of others at most {ages[-1]:.1f} s old, p90 {ages[len(ages) * 9 // 10]:.1f} s"
    rig.verify(f"{3 * names} new boots in one namespace: {reported}")
    assert reads[0] < 3 * names / 20, f"{reads[0]} reads for {3 * names} names"


SPOOLER = """
import sys, time
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
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


@pytest.mark.slow
def test_an_agent_killed_in_an_outage_and_its_spool_replayed_twice(rig: Rig) -> None:
    """Everything recorded up to a second before its death is counted once; so are the batches its successors resend."""
    rig.worker()
    at_least: dict[str, int] = {}
    with KafkaProxy(rig.parts.kafka.bootstrap_servers) as between:

        def start(number: int) -> tuple[Child, str]:
            words = [sys.executable, "-c", SPOOLER, between.bootstrap_servers, rig.name,
                     str(rig.parts.directory / f"{rig.name}-spool")]  # fmt: skip
            log = rig.parts.directory / f"{rig.name}-agent-{number}.log"
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

        rig.eventually(counted, lambda wrong: not wrong, "the killed agent's events")
        rig.workers[-1].kill()

    def every_boot() -> list[tuple[object, ...]]:
        return rig.rows(
            "SELECT * FROM (SELECT boot_id, arrived, agent_arrived, finished, agent_finished, missing FROM boots FINAL"
            " WHERE stream = 'requests') WHERE arrived != agent_arrived OR finished != agent_finished OR missing != 0"
        )

    rig.eventually(every_boot, lambda wrong: not wrong, "boots that differ from their agent's totals")
    # Windows are stored before boots: between the two there is a moment.
    rig.eventually(
        lambda: rig.rows(
            "SELECT sum(b.arrived), (SELECT sum(arrived) FROM request_windows FINAL) FROM boots AS b FINAL"
            " WHERE stream = 'requests'"
        ),
        lambda sums: sums[0][0] == sums[0][1],
        "as many in the windows as in the boots",
    )
    key_of = rig.rows("SELECT namespace, endpoint, replica_id, boot_id, arrived, finished FROM boots FINAL"
                      " WHERE stream = 'requests'")  # fmt: skip
    assert len(key_of) == 3
    rig.verify("agent killed in an outage, its spool replayed twice")


def last_number(agent: Child) -> int:
    """Return the number of requests that the agent last reported as recorded."""
    os.set_blocking(agent.process.stdout.fileno(), False)
    said = b""
    while piece := agent.process.stdout.read():
        said += piece
    return int(said.split(b"\n")[-2])
