"""Three real brokers, each also a controller, that replicate to each other: data survives the loss of any one."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient
from tests.support.waiting import eventually

from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.kafka.storage import new_cluster_id
from endpoint_analytics.infra.local.system.port import free_port

HOST = "127.0.0.1"


async def _known(server: str) -> int:
    """Return how many brokers are in the metadata of one."""
    client = AIOKafkaAdminClient(bootstrap_servers=server)
    await client.start()
    try:
        return len((await client.describe_cluster())["brokers"])
    finally:
        await client.close()


class Cluster:
    """The brokers, numbered 0 to 2; internal topics have three replicas, two of which must be in sync."""

    def __init__(self, directory: Path, size: int = 3) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        ports = [free_port(HOST) for _ in range(size)]
        controllers = [free_port(HOST) for _ in range(size)]
        voters = ",".join(f"{number}@{HOST}:{port}" for number, port in enumerate(controllers, 1))
        cluster_id = new_cluster_id()
        self._disks = [directory / f"broker-{number}" for number in range(1, size + 1)]
        self.brokers = [
            KafkaProcess(
                disk,
                port=port,
                heap_mb=256,
                cluster_id=cluster_id,
                settings={
                    "node.id": str(number),
                    "controller.quorum.voters": voters,
                    "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
                    "default.replication.factor": str(size),
                    "min.insync.replicas": str(size - 1),
                    "offsets.topic.replication.factor": str(size),
                    "transaction.state.log.replication.factor": str(size),
                    "transaction.state.log.min.isr": str(size - 1),
                },
            )
            for number, (disk, port, controller) in enumerate(
                zip(self._disks, ports, controllers, strict=True), 1
            )
        ]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    def start(self) -> None:
        """Start all in parallel, since none answers before a majority runs; returns once each knows all others."""
        self._each(KafkaProcess.start)
        for broker in self.brokers:
            eventually(
                lambda broker=broker: asyncio.run(_known(broker.bootstrap_servers)),  # type: ignore[misc]
                lambda known: known == len(self.brokers),
                30,
                f"brokers that {broker.bootstrap_servers} knows",
            )

    def stop(self) -> None:
        self._each(KafkaProcess.stop)

    def lose(self, index: int) -> None:
        """Kill a broker and delete its disk; `start` of it then is that of an empty replacement under its number."""
        self.brokers[index].kill()
        shutil.rmtree(self._disks[index])

    def out_of_sync(self) -> dict[str, list[int]]:
        """Return the brokers that lack the newest messages of a partition, by partition, Kafka's own topics included.

        Raises aiokafka's KafkaError if no broker answers.
        """
        return asyncio.run(self._out_of_sync())

    async def _out_of_sync(self) -> dict[str, list[int]]:
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await client.start()
        try:
            topics = await client.describe_topics()
        finally:
            await client.close()
        return {
            f"{topic['topic']}/{partition['partition']}": missing
            for topic in topics
            for partition in topic["partitions"]
            if (missing := sorted(set(partition["replicas"]) - set(partition["isr"])))
        }

    def _each(self, do: Callable[[KafkaProcess], None]) -> None:
        with ThreadPoolExecutor(len(self.brokers)) as pool:
            list(pool.map(do, self.brokers))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
