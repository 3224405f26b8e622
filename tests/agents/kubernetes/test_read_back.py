"""What the agent reads back: packed as an operator chooses, and past batches that a disk or a packer spoilt."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from tests.faults import segments

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.agents.kubernetes import read_back as module
from endpoint_analytics.agents.kubernetes.origin_header import HEADER, Origin
from endpoint_analytics.agents.kubernetes.read_back import read_back
from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.replicas import ReplicaState
from endpoint_analytics.schemas.topics import REPLICAS, TOPIC_CONFIG

HERE = Origin("", "models")
FAULTS: dict[int, Callable[[bytes], bytes]] = {
    2: segments.flipped,
    4: segments.garbage,
    5: segments.unknown_codec,
    7: segments.with_codec(4, segments.cut_zstd),
}


async def send(config: KafkaConfig, names: list[list[str]]) -> None:
    """Report these pods as running: each list as one record batch, each with a different compression."""
    for number, pods in enumerate(names):
        codec = (None, "gzip", "snappy", "lz4", "zstd")[number % 5] if number not in FAULTS else None
        async with AIOKafkaProducer(
            bootstrap_servers=config.bootstrap_servers, compression_type=codec, max_batch_size=2**20
        ) as producer:
            batch = producer.create_batch()
            for pod in pods:
                state = ReplicaState(
                    namespace="models",
                    endpoint="llm",
                    replica_id=pod,
                    at_us=time.time_ns() // 1000,
                    state="running",
                )
                header = [(HEADER, HERE.header_of(pod))]
                assert batch.append(key=b"/models/llm", value=encode(state), timestamp=None, headers=header)
            sent = await producer.send_batch(batch, REPLICAS.name(config.topic_prefix), partition=0)
            await sent


def recalled(
    directory: Path, faults: dict[int, Callable[[bytes], bytes]], pods: int
) -> tuple[list[list[str]], set[str]]:
    """Return the names that were sent, and those that are read back once the broker's disk has these faults."""
    names = [[f"llm-{number}-{n}" for n in range(pods)] for number in range(12)]
    with KafkaProcess(directory) as kafka:
        config = KafkaConfig(bootstrap_servers=kafka.bootstrap_servers, topic_prefix="spoilt")
        topic = REPLICAS.name(config.topic_prefix)
        spec = TopicSpec(topic, 1, REPLICAS.retention_ms, config=TOPIC_CONFIG)
        asyncio.run(ensure_topics(config.bootstrap_servers, [spec]))
        asyncio.run(send(config, names))
        kafka.stop(60)  # cleanly: after a crash it would look through its segments, and cut them
        [partition] = directory.rglob(f"{topic}-0")
        for number, change in faults.items():
            segments.edit(partition, number, change)
        kafka.start()
        found = asyncio.run(asyncio.wait_for(read_back(config, None, "models", HERE), 60))
    assert all(pod == replica.replica_id for replica, pod in found.living().items())
    return names, set(found.living().values())


def test_batches_of_every_codec_are_read_and_spoilt_ones_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names, found = recalled(tmp_path / "kafka", FAULTS, pods=5)
    assert found == {pod for number, pods in enumerate(names) for pod in pods if number not in FAULTS}
    assert caplog.text.count("cannot be read") == 3  # two of them lie side by side


@pytest.mark.slow
def test_a_place_that_the_broker_does_not_get_past_ends_the_reading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch's length is wrong on disk, and the broker finds its end by the index."""
    monkeypatch.setattr(module, "STALLED_S", 2.0)
    broken = {3: lambda batch: batch[:8] + struct.pack(">i", 5) + batch[12:]}
    names, found = recalled(tmp_path / "kafka", broken, pods=300)
    assert {pod for pods in names[:3] for pod in pods} <= found
    assert not found & set(names[3])
    assert "the rest is not read" in caplog.text or "cannot be read" in caplog.text
