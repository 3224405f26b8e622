"""The parts that fault tests break, and the judge: workers on short chunks, a fleet that keeps the truth, the oracle.

Kafka and ClickHouse are shared by all tests; each test has its own topics, consumer group and database.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tests.faults.clickhouse_proxy import ClickHouseProxy
from tests.oracle import Accepted, differences
from tests.parts import ROOT, Child, eventually

from endpoint_analytics.infra.clickhouse.process import ClickHouseProcess
from endpoint_analytics.infra.fleet.config import FleetConfig
from endpoint_analytics.infra.fleet.fleet import Fleet
from endpoint_analytics.infra.fleet.truth import BootTruth, FleetTruth
from endpoint_analytics.infra.kafka.process import KafkaProcess
from endpoint_analytics.infra.kafka.topics import TopicSpec, ensure_topics
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.store.connect import ClickHouseConfig, Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.requests import Totals
from endpoint_analytics.schemas.topics import REJECTED, REQUESTS, TOPIC_CONFIG, TOPICS

SETTLED_WITHIN_S = 120
CHUNK_MS, CHUNK_OFFSETS = 2_000, 700
SESSION_TIMEOUT_S = 4


class Parts:
    """Kafka, ClickHouse, and the fault proxy between ClickHouse and the workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kafka = KafkaProcess(folder / "kafka")
        self.clickhouse = ClickHouseProcess(folder / "clickhouse")
        self.proxy: ClickHouseProxy
        self._made = 0

    def __enter__(self) -> Self:
        try:
            self.kafka.start()
            self.clickhouse.start()
            self.proxy = ClickHouseProxy("127.0.0.1", self.clickhouse.port).__enter__()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "proxy"):
            self.proxy.__exit__()
        for process in (self.clickhouse, self.kafka):
            with suppress(Exception):
                os.kill(process.pid, signal.SIGCONT)
            process.stop()

    def mend(self) -> None:
        """Put right whatever is broken."""
        self.proxy.reset()
        self.mend_clickhouse()
        self.mend_kafka()

    def mend_clickhouse(self) -> None:
        """Start it or let it go on, where it does not run."""
        _mend(self.clickhouse)

    def mend_kafka(self) -> None:
        """Start it or let it go on, where it does not run."""
        _mend(self.kafka)

    def stop_clickhouse(self) -> bool:
        """SIGSTOP; returns whether it ran."""
        return _stop(self.clickhouse)

    def stop_kafka(self) -> bool:
        """SIGSTOP; returns whether it ran."""
        return _stop(self.kafka)

    def number(self) -> int:
        self._made += 1
        return self._made


def _mend(process: KafkaProcess | ClickHouseProcess) -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGCONT)
    else:
        process.start()


def _stop(process: KafkaProcess | ClickHouseProcess) -> bool:
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGSTOP)
    return True


@dataclass
class Row:
    """A line of the table that fault tests print."""

    fault: str
    seconds: float
    sent: int
    stored: int
    events: int
    duplicates: int
    dropped: dict[str, int] = field(default_factory=dict)

    HEAD = f"{'fault':<58} {'s':>5} {'sent':>7} {'stored':>7} {'events':>8} {'dupl.':>6}  dropped by reason"

    def __str__(self) -> str:
        dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(self.dropped.items()) if count)
        return (
            f"{self.fault:<58} {self.seconds:>5.1f} {self.sent:>7} {self.stored:>7} {self.events:>8}"
            f" {self.duplicates:>6}  {dropped or '-'}"
        )


TABLE: list[Row] = []


class FleetRun:
    """A fleet that sends from a thread of its own."""

    def __init__(self, fleet: Fleet, work: Coroutine[Any, Any, None]) -> None:
        self.fleet = fleet
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), name="fleet", daemon=True)
        self._thread.start()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - raised again by join
            self._error = error

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def join(self, within_s: float = 180) -> FleetTruth:
        """Wait until Kafka has all that it sends."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), "the fleet did not get its messages into Kafka"
        if self._error is not None:
            raise self._error
        return self.fleet.truth

    def stop(self) -> FleetTruth:
        self.fleet.stop()
        return self.join()


class Rig:
    """One test's topics, group, database and workers; workers reach ClickHouse through the proxy."""

    def __init__(
        self,
        parts: Parts,
        name: str,
        partitions: int = 4,
        chunk_ms: int = CHUNK_MS,
        chunk_offsets: int = CHUNK_OFFSETS,
        topics: bool = True,
    ) -> None:
        self.parts = parts
        self.proxy = parts.proxy
        self.name = f"{name}-{parts.number()}"
        self.partitions = partitions
        self.fleets: list[Fleet] = []
        self.workers: list[Child] = []
        self.begun = time.monotonic()
        self._chunks = {"CHUNK_MS": str(chunk_ms), "CHUNK_OFFSETS": str(chunk_offsets)}
        self._group = self.name
        self._database = "faults_" + "".join(c if c.isalnum() else "_" for c in self.name)[:50]
        config = ClickHouseConfig(url=parts.clickhouse.url, database=self._database)
        migrate(config)
        self.client: Client = connect(config)
        if topics:
            self.make_topics()

    def make_topics(self) -> None:
        asyncio.run(ensure_topics(self.parts.kafka.bootstrap_servers, self.topics()))

    def close(self) -> None:
        for worker in self.workers:
            with suppress(ProcessLookupError):
                if worker.process is not None and worker.process.poll() is None:
                    worker.process.send_signal(signal.SIGCONT)
            worker.kill()
        self.client.close()

    def topics(self) -> list[TopicSpec]:
        return [
            TopicSpec(
                topic.name(self.name),
                1 if topic is REJECTED else self.partitions,
                topic.retention_ms,
                config=TOPIC_CONFIG,
            )
            for topic in TOPICS
        ]

    def worker(
        self,
        name: str = "worker-1",
        *words: str,
        static: bool = True,
        session_timeout_s: float = SESSION_TIMEOUT_S,
        kafka: str = "",
        group: str = "",
        ready: bool = True,
    ) -> Child:
        """Return a worker that is started, and that has said so unless `ready` is false."""
        instance = ["--instance-id", name] if static else []
        child = Child(
            [
                sys.executable, "-m", "tests.faults.worker", "--topic-prefix", self.name,
                "--group", group or self._group, "--session-timeout", str(session_timeout_s), *instance, *words,
            ],
            dict(
                os.environ,
                ENDPOINT_ANALYTICS_KAFKA=kafka or self.parts.kafka.bootstrap_servers,
                ENDPOINT_ANALYTICS_CLICKHOUSE_URL=self.proxy.url,
                ENDPOINT_ANALYTICS_CLICKHOUSE_DATABASE=self._database,
                PYTHONUNBUFFERED="1",
                **self._chunks,
            ),
            self.parts.folder / f"{self.name}-{name}.log",
            "worker ready",
        )  # fmt: skip
        self.workers.append(child)
        if ready:
            child.start(120)
        else:
            with child.log.open("ab") as log:
                child.process = subprocess.Popen(
                    child.words, env=dict(child.environment), stdout=subprocess.DEVNULL, stderr=log, cwd=ROOT
                )
        return child

    def fleet(self, *, kafka: str = "", **settings: Any) -> Fleet:
        """Return a fleet that is not running yet; the judge knows of it."""
        settings.setdefault("name", self.name)
        settings.setdefault("replicas", 40)
        settings.setdefault("seed", 1)
        fleet = Fleet(FleetConfig(**settings), kafka or self.parts.kafka.bootstrap_servers, self.name)
        self.fleets.append(fleet)
        return fleet

    def send_fast(self, rounds: int, **settings: Any) -> FleetTruth:
        """Send with a new fleet, to the end."""
        return FleetRun(fleet := self.fleet(**settings), fleet.run_fast(rounds)).join()

    def send_steadily(self, seconds: float, **settings: Any) -> FleetRun:
        """Begin to send with a new fleet, a batch a replica each half second unless told otherwise."""
        settings.setdefault("interval_s", 0.5)
        return FleetRun(fleet := self.fleet(**settings), fleet.run_steadily(seconds))

    def rows(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(sql, parameters=parameters).result_rows]

    def stored_batches(self) -> int:
        [(batches,)] = self.rows("SELECT sum(batches) FROM boots FINAL WHERE stream = 'requests'")
        return int(batches)

    def wait_for_commits(self, partitions: int = 2, within_s: float = 60) -> None:
        """Wait until chunks of so many partitions are closed and committed: whoever comes next begins behind them.

        Only then does a fault meet the memory of boots, and a beginning that is not the log's.
        """
        eventually(
            lambda: sum(offset > 0 for offset in self.committed().values()),
            lambda found: found >= min(partitions, self.partitions),
            within_s,
            "partitions with commits",
        )

    def judge(
        self,
        fault: str,
        *,
        within_s: float = SETTLED_WITHIN_S,
        rejected: Counter[str] | None = None,
        also: dict[BootKey, Accepted] | None = None,
    ) -> Row:
        """Assert that each event is stored exactly once, in the end; adds a line to the table.

        `rejected` are messages that are to be rejected beside the fleets' poison; `also` are boots beside theirs.
        """
        expected = sum((fleet.truth.poison for fleet in self.fleets), Counter()) + (rejected or Counter())
        uncertain = sum(fleet.truth.uncertain for fleet in self.fleets)
        accepted = self.accepted() | (also or {})

        def found() -> list[str]:
            return [
                *self.differences(accepted),
                *self.log_differences(uncertain),
                *self.rejected_differences(expected, uncertain),
            ]

        eventually(found, lambda wrong: not wrong, within_s, fault)
        truth = [fleet.truth for fleet in self.fleets]
        [(batches, duplicates, missing)] = self.rows(
            "SELECT sum(batches), sum(duplicates), sum(missing) FROM boots FINAL"
            " WHERE stream = 'requests' AND NOT startsWith(boot_id, 'poison-')"
        )
        row = Row(
            fault,
            time.monotonic() - self.begun,
            sum(t.batches + t.again + t.poison.total() for t in truth),
            batches,
            sum(t.events for t in truth),
            duplicates,
            {"missing": missing, **dict(self.rejections())},
        )
        TABLE.append(row)
        print(row)
        return row

    def accepted(self) -> dict[BootKey, Accepted]:
        found = {}
        for fleet in self.fleets:
            for name, boot in fleet.truth.boots.items():
                found[BootKey(*name)] = Accepted(
                    boot.accepted.totals(), boot.lost.totals(), dict(boot.stored.windows)
                )
        return found

    def differences(self, accepted: dict[BootKey, Accepted]) -> list[str]:
        found = []
        by_namespace: dict[str, dict[BootKey, Accepted]] = {}
        for key, truth in accepted.items():
            by_namespace.setdefault(key.namespace, {})[key] = truth
        # What poison claims to be of is stored without any count.
        for row in self.rows("SELECT namespace, endpoint, replica_id, boot_id FROM boots FINAL"
                             " WHERE startsWith(boot_id, 'poison-')"):  # fmt: skip
            by_namespace.setdefault(row[0], {})[BootKey(*row)] = Accepted(Totals())
        for namespace, boots in by_namespace.items():
            found += differences(self.client, namespace, boots)
        return found

    def log_differences(self, uncertain: int) -> list[str]:
        """Return what is wrong with duplicates, gaps and samples by boot, and with the chunks."""
        found = []
        stored = {
            tuple(row[:5]): row[5:]
            for row in self.rows(
                "SELECT stream, namespace, endpoint, replica_id, boot_id, batches, duplicates, missing FROM boots FINAL"
            )
        }
        samples = {
            tuple(row[:4]): row[4]
            for row in self.rows(
                "SELECT namespace, endpoint, replica_id, boot_id, sum(samples) FROM hardware_windows FINAL"
                " WHERE metric = 'cpu_percent' GROUP BY ALL"
            )
        }
        again = doubles = 0
        for fleet in self.fleets:
            for name, truth in fleet.truth.boots.items():
                batches, duplicates, missing = stored.get(("requests", *name), (0, 0, 0))
                for what, have, due in (
                    ("batches", batches, truth.batches),
                    ("missing", missing, truth.missing),
                    ("samples", samples.get(tuple(name), 0), truth.samples),
                ):
                    if have != due:
                        found.append(f"{'/'.join(name)}: {what} is {have}, should be {due}")
                again += truth.again
                doubles += duplicates
                if duplicates < truth.again:
                    found.append(f"{'/'.join(name)}: {duplicates} duplicates, {truth.again} were sent")
        if doubles > again + uncertain:
            found.append(f"{doubles} duplicates, no more than {again} + {uncertain} were sent")
        return found + self.chunk_differences()

    def chunk_differences(self) -> list[str]:
        """Return chunks that overlap: a reader began where no chunk begins."""
        return [
            f"{stream}/{partition}: chunk {chunk} to {version} reaches into chunk {after}"
            for stream, partition, chunk, version, after in self.rows(
                "SELECT stream, partition, chunk, version, next FROM (SELECT stream, partition, chunk, version,"
                " leadInFrame(chunk, 1, 18446744073709551615) OVER (PARTITION BY stream, partition ORDER BY chunk"
                " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next FROM chunks FINAL)"
                " WHERE version >= next"
            )
        ]

    def rejections(self) -> Counter[str]:
        return Counter(dict(self.rows("SELECT reason, count() FROM rejected FINAL GROUP BY reason")))

    def rejected_differences(self, expected: Counter[str], uncertain: int) -> list[str]:
        stored = self.rejections()
        if (
            uncertain
        ):  # a message that was sent again may be rejected again, or be a double of what was refused
            return [f"rejected: {stored}, should be {expected} or more"] if expected and not stored else []
        return [] if stored == expected else [f"rejected: {dict(stored)}, should be {dict(expected)}"]

    def rejected_messages(self) -> Counter[tuple[str, int, int]]:
        """Return how often each source stands in the rejected topic."""
        return asyncio.run(self._rejected_messages())

    async def _rejected_messages(self) -> Counter[tuple[str, int, int]]:
        import msgspec

        from endpoint_analytics.schemas.rejected import Rejected

        partition = TopicPartition(REJECTED.name(self.name), 0)
        found: Counter[tuple[str, int, int]] = Counter()
        async with AIOKafkaConsumer(
            bootstrap_servers=self.parts.kafka.bootstrap_servers,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        ) as consumer:
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            while await consumer.position(partition) < end:
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    for message in messages:
                        rejected = msgspec.json.decode(message.value, type=Rejected)
                        found[rejected.topic, rejected.partition, rejected.offset] += 1
        return found

    def committed(self, suffix: str = REQUESTS.suffix) -> dict[int, int]:
        """Return the group's committed offsets of a topic, by partition."""
        return asyncio.run(self._committed(f"{self.name}.{suffix}"))

    async def _committed(self, topic: str) -> dict[int, int]:
        client = AIOKafkaAdminClient(bootstrap_servers=self.parts.kafka.bootstrap_servers)
        await client.start()
        try:
            found = await client.list_consumer_group_offsets(self._group)
        finally:
            await client.close()
        return {tp.partition: at.offset for tp, at in found.items() if tp.topic == topic and at.offset >= 0}

    def wait_for_last_chunks(self, within_s: float = SETTLED_WITHIN_S) -> None:
        """Wait until the group has committed, in each partition, where its last chunk begins: it has read all."""

        def behind() -> dict[int, tuple[int, int | None]]:
            committed = self.committed()
            return {
                partition: (chunk, committed.get(partition))
                for partition, chunk in self.rows(
                    "SELECT partition, max(chunk) FROM chunks FINAL WHERE stream = 'requests'"
                    " GROUP BY partition HAVING count() > 1"
                )
                if committed.get(partition) != chunk
            }

        eventually(behind, lambda found: not found, within_s, "commits where the last chunks begin")

    def replay(self) -> None:
        """Let workers started from now on read the log from its beginning, as after a reset of offsets."""
        self._group = f"{self.name}-replay-{time.monotonic_ns()}"


def pause(process: Child) -> None:
    process.process.send_signal(signal.SIGSTOP)


def resume(process: Child) -> None:
    process.process.send_signal(signal.SIGCONT)


def until(holds: Callable[[], bool], within_s: float, what: str) -> None:
    eventually(holds, bool, within_s, what)


def truth_of(fleets: Sequence[Fleet]) -> list[BootTruth]:
    return [truth for fleet in fleets for truth in fleet.truth.boots.values()]


__all__ = ["ROOT", "TABLE", "FleetRun", "Parts", "Rig", "Row", "pause", "resume", "until"]
