"""Real agents under load, in this process, whose own totals are the truth that the oracle compares with."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults.rig import Rig
from tests.support.oracle import Accepted

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.pipeline.core.boots import BootKey

EVERY_S = 0.05
NAMESPACE, ENDPOINT = "agents", "real"


@contextmanager
def agents_under_load(rig: Rig, number: int, runtime: Path) -> Iterator[dict[BootKey, Accepted]]:
    """Run agents that each record twenty requests a second; after the block, the result has what they accepted.

    Their messages wait in memory while Kafka takes none: 20 s of outage are well within its limits.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY", str(runtime))
        agents = [_start(rig, each) for each in range(number)]
    ending = threading.Event()

    def record() -> None:
        while not ending.wait(EVERY_S):
            for agent in agents:
                request = agent.recorder.arrive()
                request.respond(200)
                request.finish()

    recording = threading.Thread(target=record, name="recording", daemon=True)
    recording.start()
    accepted: dict[BootKey, Accepted] = {}
    try:
        yield accepted
    finally:
        ending.set()
        recording.join()
        for agent in agents:
            agent.stop()
    for agent in agents:
        snapshot = agent.snapshot()
        assert not snapshot.totals.dropped_batches, snapshot.totals
        assert not snapshot.totals.dropped, snapshot.totals
        key = BootKey(NAMESPACE, ENDPOINT, agent.config.replica_id, agent.boot_id)
        accepted[key] = Accepted(snapshot.totals)


def _start(rig: Rig, number: int) -> Agent:
    config = AgentConfig(
        namespace=NAMESPACE,
        endpoint=ENDPOINT,
        replica_id=f"real-{number}",
        kafka=rig.kafka_config(),
        flush_interval_s=0.5,
        stop_timeout_s=30.0,
        hardware=False,
    )
    agent = Agent(config)
    agent.start()
    return agent
