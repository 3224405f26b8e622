"""A snapshot restored ten times: one process more than can be told apart, reported by every outlet, all accounted for.

A real agent is copied while it runs, as in the fault tests, but with the whole pipeline behind it.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.faults.test_copies import AGENT
from tests.integration.browsing import open_endpoint, signed_in
from tests.support.parts import Child, Stack
from tests.support.waiting import eventually

from endpoint_analytics.pipeline.core.copies import MAX_COPIES
from endpoint_analytics.schemas.codec import decode_requests
from endpoint_analytics.schemas.rejected import Rejected
from endpoint_analytics.schemas.requests import Totals
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX, REJECTED

pytestmark = [pytest.mark.whole, pytest.mark.timeout(400)]

NAMESPACE, ENDPOINT, REPLICA = DEFAULT_PREFIX, "llm", "copied"  # as the agent says
COPIES = MAX_COPIES + 1
COUNTED = """
SELECT sum(arrived), sum(conflicts), max(copies), uniqExact(boot_id),
    (SELECT count() FROM rejected FINAL WHERE reason = 'boot_conflict')
FROM boots FINAL WHERE stream = 'requests'
"""


@pytest.fixture
def stack(tmp_path) -> Iterator[Stack]:
    with Stack(tmp_path, partitions=2) as stack:
        yield stack


@contextmanager
def copied(stack: Stack) -> Iterator[Child]:
    """A real agent that is copied COPIES times; all processes are gone at the end."""
    directory = stack.directory / "agents"
    directory.mkdir()
    script = AGENT.replace("copies, first = 2,", f"copies, first = {COPIES},")
    assert script != AGENT
    words = [sys.executable, "-c", script, stack.kafka.bootstrap_servers, DEFAULT_PREFIX, str(directory)]
    agent = stack.program("agent", words, r"agent ready (\w+)\n")
    agent.start()
    try:
        yield agent
    finally:
        agent.kill()  # the copies end with it
        for path in directory.glob("*.json"):
            with suppress(ProcessLookupError):
                if int(path.stem) != agent.pid:
                    os.kill(int(path.stem), signal.SIGKILL)


def arrived_in_rejected(stack: Stack) -> int:
    """Requests of the batches that are in no figure, from the topic of rejected messages, each once."""

    async def read() -> int:
        found: dict[tuple[int, int], int] = {}
        async with AIOKafkaConsumer(bootstrap_servers=stack.kafka.bootstrap_servers) as consumer:
            places = [TopicPartition(REJECTED.name(DEFAULT_PREFIX), each) for each in range(stack.partitions)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            for place in places:
                while await consumer.position(place) < ends[place]:
                    for messages in (await consumer.getmany(timeout_ms=200)).values():
                        for message in messages:
                            rejected = msgspec.json.decode(message.value, type=Rejected)
                            assert rejected.reason == "boot_conflict"
                            batch = decode_requests(rejected.value)
                            found[rejected.partition, rejected.offset] = len(batch.arrived.at_us)
        return sum(found.values())

    with ThreadPoolExecutor(1) as other:  # this thread's event loop is the browser's
        return other.submit(asyncio.run, read()).result()


def answer(stack: Stack, query: str) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", stack.serve_port, timeout=20)
    try:
        path = f"/v2/endpoint/{NAMESPACE}/{ENDPOINT}/series?{query}"
        connection.request("GET", path, headers={"Authorization": f"Bearer {stack.token}"})
        said = connection.getresponse()
        text = said.read()
        assert said.status == 200, text
        return json.loads(text)
    finally:
        connection.close()


@pytest.mark.slow
def test_a_snapshot_restored_ten_times(stack: Stack) -> None:
    directory = stack.directory / "agents"
    with copied(stack):
        reported = eventually(
            lambda: sorted(directory.glob("*.json")),
            lambda found: len(found) == 1 + COPIES,
            120,
            "all totals",
        )
        before = msgspec.json.decode((directory / "before").read_bytes(), type=Totals).arrived
        sent = before + sum(
            msgspec.json.decode(path.read_bytes(), type=Totals).arrived - before for path in reported
        )
    assert sent > (1 + COPIES) * 400
    # What they sent at the end is read too: that they live, in batches without requests.
    [(gone_at,)] = stack.rows("SELECT toFloat64(now64(3)) + 1")
    read_to = "SELECT toFloat64(min(read_to)) FROM partition_progress FINAL WHERE stream = 'requests'"
    eventually(lambda: stack.rows(read_to)[0][0], lambda found: found > gone_at, 60, "all is read")

    def accounted() -> tuple[int, tuple[int, ...]]:
        """The requests counted and rejected, and the total in the table."""
        in_rejected = arrived_in_rejected(stack)
        [(arrived, *rest)] = stack.rows(COUNTED)
        return arrived + in_rejected, tuple(rest)

    _, (conflicts, copies, boots, rejected) = eventually(
        accounted,
        lambda found: found[0] == sent and found[1][0] == found[1][3],
        90,
        f"each of {sent} requests is counted, or in a batch that is rejected by name",
    )
    assert (copies, boots) == (MAX_COPIES, MAX_COPIES + 1)
    assert conflicts == rejected > 0
    for name, value in (("copied_boots", copies), ("conflicting_batches_total", conflicts)):
        assert stack.samples(ENDPOINT, name, NAMESPACE) == {(REPLICA, "requests"): value}
    found = answer(stack, "from=now-15m&series=requests&include=replicas")
    (replica,) = found["replicas"]
    assert (replica["copies"], replica["conflicting_batches"]) == (copies, conflicts)
    assert {(each["replica"], each["stream"]) for each in found["conflicts"]} == {(REPLICA, "requests")}
    assert sum(each["batches"] for each in found["conflicts"]) == conflicts
    with signed_in(stack) as context:
        page = open_endpoint(context, stack, NAMESPACE, ENDPOINT)
        lines = page.get_by_role("list", name="Copied processes").get_by_role("listitem")
        lines.first.wait_for()
        first, second = lines.all_inner_texts()
        assert first.startswith(f"{copies} more processes sent as an agent of {REPLICA}")
        assert second.startswith(f"{conflicts} batches of {REPLICA} not counted")
        page.locator(".has-losses").first.wait_for()
