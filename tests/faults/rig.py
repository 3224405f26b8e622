"""The parts that fault tests break, and the oracle: workers with short chunks, a fleet that keeps the truth.

Kafka and ClickHouse are shared by all tests; each test has its own topics, consumer group and database.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.faults.clickhouse_proxy import ClickHouseProxy
from tests.faults.patience import LOST_AFTER_S, STALLED_AFTER_S, Patience
from tests.faults.refusals import Refusal
from tests.support.kafka_cluster import Cluster
from tests.support.oracle import Accepted, differences
from tests.support.parts import ROOT, Child, kafka_environment

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.fleet.config import FleetConfig
from endpoint_analytics.infra.fleet.fleet import Fleet
from endpoint_analytics.infra.fleet.truth import BootTruth, FleetTruth
from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.requests import Totals
from endpoint_analytics.schemas.topics import REJECTED, REQUESTS, SIGNALS, TOPIC_CONFIG, TOPICS, Topic

Value = TypeVar("Value")
CHUNK_MS, CHUNK_OFFSETS = 2_000, 700
SESSION_TIMEOUT_S = 4


class Parts:
    """Kafka, ClickHouse, and the fault proxy between ClickHouse and the workers."""

    def __init__(self, directory: Path, kafka: KafkaProcess | Cluster | None = None) -> None:
        self.directory = directory
        self.kafka = kafka or KafkaProcess(directory / "kafka")
        self.clickhouse = ClickHouseProcess(directory / "clickhouse")
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
            if not isinstance(process, Cluster):
                with suppress(Exception):
                    os.kill(process.pid, signal.SIGCONT)
            process.stop()

    def repair(self) -> None:
        """Repair everything that is broken."""
        self.proxy.reset()
        self.repair_clickhouse()
        self.repair_kafka()

    def repair_clickhouse(self) -> None:
        """Start or continue it if it is not running."""
        _repair(self.clickhouse)

    def repair_kafka(self) -> None:
        """Start or continue it if it is not running."""
        if isinstance(self.kafka, KafkaProcess):
            _repair(self.kafka)

    def stop_clickhouse(self) -> bool:
        """Send SIGSTOP; returns whether it was running."""
        return _stop(self.clickhouse)

    def stop_kafka(self) -> bool:
        """Send SIGSTOP; returns whether it was running."""
        assert isinstance(self.kafka, KafkaProcess)
        return _stop(self.kafka)

    def number(self) -> int:
        self._made += 1
        return self._made


def _repair(process: KafkaProcess | ClickHouseProcess) -> None:
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
    """A fleet that sends from its own thread."""

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

    def join(self) -> FleetTruth:
        """Wait until Kafka has everything it sends, as long as messages keep arriving."""
        sent, moved = -1, time.monotonic()
        while self._thread.is_alive():
            self._thread.join(1)
            if self.fleet.truth.messages > sent:
                sent, moved = self.fleet.truth.messages, time.monotonic()
            stalled = time.monotonic() - moved > STALLED_AFTER_S
            assert not stalled, (
                f"Kafka has taken no message of the fleet for {STALLED_AFTER_S:.0f} s; {sent} before"
            )
        if self._error is not None:
            raise self._error
        return self.fleet.truth

    def stop(self) -> FleetTruth:
        self.fleet.stop()
        return self.join()


def accepted_by(fleets: Sequence[Fleet]) -> dict[BootKey, Accepted]:
    """Return what the boots of some fleets accepted, for the oracle."""
    return {
        BootKey(*name): Accepted(
            boot.accepted.totals(),
            boot.lost.totals(),
            dict(boot.stored.windows),
            boot.outcomes if fleet.config.outcomes else None,
        )
        for fleet in fleets
        for name, boot in fleet.truth.boots.items()
    }


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
        kafka: KafkaConfig | None = None,
        replication_factor: int = 1,
    ) -> None:
        self.parts = parts
        self._kafka = kafka
        self._replication_factor = replication_factor
        self.proxy = parts.proxy
        self.name = f"{name}-{parts.number()}"
        self.partitions = partitions
        self.fleets: list[Fleet] = []
        self.workers: list[Child] = []
        self._programs: list[Child] = []
        self.begun = time.monotonic()
        self.stalled_after_s, self.lost_after_s = STALLED_AFTER_S, LOST_AFTER_S
        self._chunks = {"CHUNK_MS": str(chunk_ms), "CHUNK_OFFSETS": str(chunk_offsets)}
        self._group = self.name
        self._health_port = 0
        self._database = "faults_" + "".join(c if c.isalnum() else "_" for c in self.name)[:50]
        config = parts.clickhouse.config(self._database)
        migrate(config)
        self.client: Client = connect(config)
        if topics:
            self.make_topics()

    def kafka_config(self, servers: str = "") -> KafkaConfig:
        """Return the Kafka configuration of agents and workers: this rig's, or plaintext to other servers."""
        if self._kafka is not None and not servers:
            return replace(self._kafka, topic_prefix=self.name)
        servers = servers or self.parts.kafka.bootstrap_servers
        return KafkaConfig(bootstrap_servers=servers, topic_prefix=self.name)

    def make_topics(self) -> None:
        asyncio.run(ensure_topics(self.parts.kafka.bootstrap_servers, self.topics()))

    def close(self) -> None:
        for worker in self.workers:
            with suppress(ProcessLookupError):
                if worker.process is not None and worker.process.poll() is None:
                    worker.process.send_signal(signal.SIGCONT)
            worker.kill()
        for program in self._programs:
            program.kill()
        self.client.close()

    def topics(self) -> list[TopicSpec]:
        return [
            TopicSpec(
                topic.name(self.name),
                1 if topic is REJECTED else self.partitions,
                topic.retention_ms,
                self._replication_factor,
                config=TOPIC_CONFIG | ({"min.insync.replicas": "2"} if self._replication_factor > 1 else {}),
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
        health: bool = False,
        **environment: str,
    ) -> Child:
        """Start a worker and return it, once it is ready unless `ready` is false.

        With `health`, `not_ready` queries it. `environment` is added to the rig's environment.
        """
        instance = ["--instance-id", name] if static else []
        if health:
            self._health_port = free_port("127.0.0.1")
            instance += ["--health-port", str(self._health_port)]
        child = Child(
            [
                sys.executable, "-m", "tests.faults.worker", "--group", group or self._group,
                "--session-timeout", str(session_timeout_s), *instance, *words,
            ],
            self._environment(self.kafka_config(kafka))
            | {"ENDPOINT_ANALYTICS_CLICKHOUSE_URL": self.proxy.url}
            | self._chunks
            | environment,
            self.parts.directory / f"{self.name}-{name}.log",
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

    @property
    def database(self) -> str:
        """Return the name of this rig's database."""
        return self._database

    @property
    def directory(self) -> Path:
        """Return where logs of this rig's processes are."""
        return self.parts.directory

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables with which our processes reach this rig's topics and database, without the proxy."""
        return self._environment(self.kafka_config())

    def _environment(self, kafka: KafkaConfig) -> dict[str, str]:
        return {
            **os.environ,
            **kafka_environment(kafka),
            **self.parts.clickhouse.environment,
            "ENDPOINT_ANALYTICS_CLICKHOUSE_DATABASE": self._database,
            "PYTHONUNBUFFERED": "1",
        }

    def program(self, name: str, words: list[str], ready: str, **environment: str) -> Child:
        """Return a process, not yet started; it ends with the rig."""
        child = Child(
            words, self.environment | environment, self.parts.directory / f"{self.name}-{name}.log", ready
        )
        self._programs.append(child)
        return child

    def command(self, *words: str, **environment: str) -> str:
        """Return the output of an `endpoint-analytics` command on this rig's topics and database."""
        done = self._command(*words, **environment)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def refused(self, *words: str, **environment: str) -> str:
        """Return why an `endpoint-analytics` command on this rig's topics and database fails."""
        done = self._command(*words, **environment)
        assert done.returncode == 1, f"{words}: {done.stdout}{done.stderr}"
        return done.stderr

    def _command(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (sys.executable, "-m", "endpoint_analytics.infra.command", *words),
            env=self.environment | environment,
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )

    def configure(self, topic: Topic, **settings: str) -> None:
        """Set a topic's settings, like an operator."""
        asyncio.run(self._configure(topic.name(self.name), settings))

    async def _configure(self, topic: str, settings: dict[str, str]) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=self.parts.kafka.bootstrap_servers)
        await client.start()
        try:
            wanted = TOPIC_CONFIG | {name.replace("_", "."): value for name, value in settings.items()}
            for answer in await client.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic, wanted)]
            ):
                assert all(resource[0] == 0 for resource in answer.resources), answer
        finally:
            await client.close()

    def trim(self, before: dict[int, int]) -> None:
        """Delete the messages of the requests topic before an offset of each partition, as retention does."""
        asyncio.run(self._trim(before))

    async def _trim(self, before: dict[int, int]) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=self.parts.kafka.bootstrap_servers)
        await client.start()
        try:
            topic = REQUESTS.name(self.name)
            await client.delete_records(
                {TopicPartition(topic, number): RecordsToDelete(offset) for number, offset in before.items()}
            )
        finally:
            await client.close()

    def fleet(self, *, kafka: str = "", **settings: Any) -> Fleet:
        """Return a fleet that is not running yet; the oracle takes it into account."""
        settings.setdefault("name", self.name)
        settings.setdefault("replicas", 40)
        settings.setdefault("seed", 1)
        settings.setdefault("outcomes", True)
        fleet = Fleet(FleetConfig(**settings), self.kafka_config(kafka))
        self.fleets.append(fleet)
        return fleet

    def send_fast(self, rounds: int, **settings: Any) -> FleetTruth:
        """Send with a new fleet, to its end."""
        return FleetRun(fleet := self.fleet(**settings), fleet.run_fast(rounds)).join()

    def send_steadily(self, seconds: float, **settings: Any) -> FleetRun:
        """Start sending with a new fleet; by default, one batch per replica every half second."""
        settings.setdefault("interval_s", 0.5)
        return FleetRun(fleet := self.fleet(**settings), fleet.run_steadily(seconds))

    def refuse(self, refusal: Refusal) -> None:
        """Make ClickHouse refuse, and check that it does."""
        self._tell_engine(refusal.start)

    def accept(self, refusal: Refusal) -> None:
        """Undo a refusal."""
        self._tell_engine(refusal.stop)

    def _tell_engine(self, what: Callable[[Client], None]) -> None:
        self.parts.repair_clickhouse()
        client = connect(self.parts.clickhouse.config(self._database))
        try:
            what(client)
        finally:
            client.close()

    def not_ready(self) -> str:
        """Return why the worker with `health` is not ready, in its own words, or "" if it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self._health_port, timeout=10)
        try:
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            return "" if answer.status == 200 else answer.read().decode()
        except OSError as error:
            return f"no answer: {error}"
        finally:
            connection.close()

    def rows(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(sql, parameters=parameters).result_rows]

    def stored_batches(self) -> int:
        [(batches,)] = self.rows("SELECT sum(batches) FROM boots FINAL WHERE stream = 'requests'")
        return int(batches)

    def wait_for_commits(self, partitions: int = 2) -> None:
        """Wait until chunks of this many partitions are closed and committed: later readers start after them.

        Only then does a fault affect restored boots, and a start that is not the start of the log.
        """
        self.eventually(
            lambda: sum(offset > 0 for offset in self.committed().values()),
            lambda found: found >= min(partitions, self.partitions),
            "partitions with commits",
        )

    def eventually(self, read: Callable[[], Value], holds: Callable[[Value], bool], what: str) -> Value:
        """Return the first value that satisfies `holds`, waiting as long as the pipeline makes progress."""
        return self.patience.wait(read, holds, what)

    @property
    def patience(self) -> Patience:
        return Patience(self._progress, self._unread, self._evidence, self.stalled_after_s, self.lost_after_s)

    def _progress(self) -> dict[str, int]:
        """Return counts that only grow while the pipeline works, by name."""
        found = {
            f"{stream}/{partition}": int(version)
            for stream, partition, version in self.rows(
                "SELECT stream, partition, max(version) FROM chunks GROUP BY stream, partition"
            )
        }
        [(batches, duplicates)] = self.rows("SELECT sum(batches), sum(duplicates) FROM boots FINAL")
        [(rejected,)] = self.rows("SELECT count() FROM rejected FINAL")
        committed = {f"committed {partition}": offset for partition, offset in self.committed().items()}
        return found | committed | {"batches": batches + duplicates, "rejected": rejected}

    def _unread(self) -> dict[str, int]:
        """Return how many messages of each partition are not stored yet."""
        stored = {
            (row[0], row[1]): int(row[2])
            for row in self.rows(
                "SELECT stream, partition, max(version) FROM chunks GROUP BY stream, partition"
            )
        }
        return asyncio.run(self._messages_behind(stored))

    async def _messages_behind(self, stored: dict[tuple[str, int], int]) -> dict[str, int]:
        """Count messages, not offsets: transaction markers have offsets too."""
        found: dict[str, int] = {}
        async with AIOKafkaConsumer(
            bootstrap_servers=self.parts.kafka.bootstrap_servers, enable_auto_commit=False
        ) as consumer:
            for topic in TOPICS:
                if topic in (REJECTED, SIGNALS):
                    continue
                partitions = [TopicPartition(topic.name(self.name), n) for n in range(self.partitions)]
                consumer.assign(partitions)
                begins = await consumer.beginning_offsets(partitions)
                ends = await consumer.end_offsets(partitions)
                for partition in partitions:
                    start = max(stored.get((topic.suffix, partition.partition), -1) + 1, begins[partition])
                    if start >= ends[partition]:
                        continue
                    consumer.assign([partition])
                    consumer.seek(partition, start)
                    count = 0
                    while await consumer.position(partition) < ends[partition]:
                        messages = await consumer.getmany(partition, timeout_ms=1000)
                        count += sum(map(len, messages.values()))
                    found[f"{topic.suffix}/{partition.partition}"] = count
        return found

    def _evidence(self) -> list[str]:
        lines = []
        for worker in self.workers:
            ended = worker.process.poll() if worker.process is not None else None
            tail = (
                worker.log.read_text(errors="replace").strip().splitlines()[-1:]
                if worker.log.exists()
                else []
            )
            state = "runs" if ended is None else f"ended with {ended}"
            lines.append(f"{worker.log.stem} {state}{': ' + tail[0][:200] if tail else ''}")
        return lines + self._holes_between_chunks()

    def _holes_between_chunks(self) -> list[str]:
        """Return the offsets in no chunk, and those in two chunks: there the log was read incorrectly."""
        rows = self.rows(
            "SELECT stream, partition, chunk, max(version) FROM chunks GROUP BY stream, partition, chunk"
            " ORDER BY stream, partition, chunk"
        )
        lines = [
            f"{stream}/{partition}: offsets {chunk} to {version} are {messages} messages"
            for stream, partition, chunk, version, messages in self.rows(
                "SELECT stream, partition, chunk, version, messages FROM chunks FINAL"
                " WHERE messages != version - chunk + 1 ORDER BY stream, partition, chunk"
            )
        ]
        for (*place, _, through), (*next_place, chunk, _) in itertools.pairwise(rows):
            if place == next_place and chunk != through + 1:
                lines.append(f"{place[0]}/{place[1]}: a chunk ends at {through}, the next begins at {chunk}")
        return lines

    def verify(
        self,
        fault: str,
        *,
        rejected: Counter[str] | None = None,
        also: dict[BootKey, Accepted] | None = None,
    ) -> Row:
        """Assert that each event is eventually stored exactly once; adds a line to the table.

        `rejected` are expected rejections in addition to the fleets' poison; `also` are additional boots.
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

        self.eventually(found, lambda wrong: not wrong, fault)
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
        return accepted_by(self.fleets)

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
                "SELECT stream, namespace, endpoint, replica_id, splitByChar('~', boot_id)[1] AS boot, sum(batches),"
                " sum(duplicates), sum(missing) FROM boots FINAL GROUP BY stream, namespace, endpoint, replica_id, boot"
            )
        }
        samples = {
            tuple(row[:4]): row[4]
            for row in self.rows(
                "SELECT namespace, endpoint, replica_id, splitByChar('~', boot_id)[1] AS boot, sum(samples)"
                " FROM hardware_windows FINAL WHERE metric = 'cpu_percent' GROUP BY ALL"
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
        """Return overlapping chunks: a reader started where no chunk starts."""
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
        """Return how often each source occurs in the rejected topic."""
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

    def wait_for_last_chunks(self) -> None:
        """Wait until the group has committed the start of the last chunk of each partition: it has read everything."""

        def behind() -> dict[int, tuple[int, int | None]]:
            committed = self.committed()
            return {
                partition: (chunk, committed.get(partition))
                for partition, chunk in self.rows(
                    "SELECT partition, max(chunk) FROM chunks FINAL WHERE stream = 'requests'"
                    " GROUP BY partition HAVING count() > 1"
                )
                if (committed.get(partition) or 0) < chunk
            }

        self.eventually(behind, lambda found: not found, "commits where the last chunks begin")

    def replay(self) -> None:
        """Let workers started from now on read the log from its beginning, as after an offset reset."""
        self._group = f"{self.name}-replay-{time.monotonic_ns()}"


def pause(process: Child) -> None:
    process.process.send_signal(signal.SIGSTOP)


def resume(process: Child) -> None:
    process.process.send_signal(signal.SIGCONT)


def truth_of(fleets: Sequence[Fleet]) -> list[BootTruth]:
    return [truth for fleet in fleets for truth in fleet.truth.boots.values()]


__all__ = ["ROOT", "TABLE", "FleetRun", "Parts", "Rig", "Row", "pause", "resume"]
