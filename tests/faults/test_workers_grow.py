"""One worker, then up to eight, then one again, while load runs: as an autoscaler or an operator would do it.

What that costs, with chunks of the usual length, is measured by `python -m tests.benchmarks workers`.
"""

from __future__ import annotations

import http.client
import math
from collections.abc import Iterator, Mapping

import pytest
from tests.faults.rig import Parts, Rig
from tests.support.parts import Child

from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.topics import AGENT_TOPICS
from endpoint_analytics.schemas.worker_metrics import PARTITIONS as ASSIGNED

PARTITIONS, MOST = 16, 8
READ = len(AGENT_TOPICS)
TRAFFIC = {"replicas": 48, "rate": 5.0, "duplicates": 0.05, "gaps": 0.02, "late": 0.03, "restarts": 0.01}
BATCHES = 200
"""Batches that are stored with each number of workers: two seconds of traffic."""


@pytest.fixture
def rig(parts: Parts) -> Iterator[Rig]:
    parts.repair()
    made = Rig(parts, "workers-grow", PARTITIONS)
    yield made
    made.close()


def assigned(port: int) -> int:
    """Return how many partitions a worker says it has; -1 if it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except OSError:
        return -1
    finally:
        connection.close()
    [value] = [line.split()[1] for line in text.splitlines() if line.startswith(f"{ASSIGNED.name} ")]
    return int(float(value))


def is_shared_out(share: Mapping[str, int]) -> bool:
    """Whether all partitions are assigned, some to each worker, and of no topic more than an equal share rounded up.

    Faust gives a new worker what the others are over an equal share rounded down: less than they have, if the number of
    workers does not divide that of partitions.
    """
    counts = share.values()
    most = READ * math.ceil(PARTITIONS / len(counts))
    return sum(counts) == PARTITIONS * READ and min(counts) >= READ and max(counts) <= most


@pytest.mark.slow
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_from_one_worker_to_eight_and_back(rig: Rig, static: bool) -> None:
    ports = {f"worker-{number}": free_port("127.0.0.1") for number in range(MOST)}
    running: dict[str, Child] = {}

    def start(name: str) -> None:
        running[name] = rig.worker(name, "--health-port", str(ports[name]), static=static)

    def share() -> Mapping[str, int]:
        return {name: assigned(ports[name]) for name in running}

    def pass_traffic() -> None:
        """Wait until every worker has its share, and rows continue."""
        rig.eventually(share, is_shared_out, f"shares of {len(running)} workers")
        before = rig.stored_batches()
        rig.eventually(
            rig.stored_batches, lambda stored: stored > before + BATCHES, f"{len(running)} workers"
        )

    start("worker-0")
    sending = rig.send_steadily(900, **TRAFFIC)
    rig.wait_for_commits(PARTITIONS // 2)  # some may get no replica
    pass_traffic()
    for number in range(1, MOST):
        start(f"worker-{number}")
        pass_traffic()
    for number in reversed(range(1, MOST)):
        assert running.pop(f"worker-{number}").stop(30) == 0
        pass_traffic()
    sending.stop()
    rig.verify(f"1 to {MOST} workers and back ({'static' if static else 'dynamic'})")
