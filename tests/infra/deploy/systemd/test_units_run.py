"""What the units start, as plain processes under the units' own limits on system calls, addresses and memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.infra.deploy.systemd.test_units import LEAST_VERSION, systemd_version
from tests.infra.deploy.systemd.units import DIRECTORY, command_of, environment_files, instance_of, read_unit
from tests.support.judges import missing, python_package
from tests.support.parts import Child
from tests.support.waiting import eventually

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.pipeline.store.connect import connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CONFINE = Path(__file__).parent / "under_unit.py"
READY = {
    "endpoint-analytics-worker@": "worker ready",
    "endpoint-analytics-query-service": "serve ready",
    "endpoint-analytics-signals": "signals ready",
    "endpoint-analytics-agent-proxy@": "ready",
    "endpoint-analytics-agent-log@": "ready",
    "endpoint-analytics-agent-otlp": "otlp receiver ready",
}


class Machine:
    """A real Kafka and the ClickHouse engine, and how a unit is started there."""

    def __init__(self, kafka: KafkaProcess, clickhouse: ClickHouseProcess, directory: Path) -> None:
        self.kafka, self.clickhouse, self.directory = kafka, clickhouse, directory
        self.package = python_package("pyseccomp==0.1.2")
        (directory / "clickhouse-password").write_text(clickhouse.config().password)
        (directory / "access.log").write_text("")

    def command(self, name: str) -> tuple[list[str], dict[str, str]]:
        """Return words and environment: as in the unit, with addresses and directories of the test."""
        at = self.directory
        specifiers = {
            "i": instance_of(name),
            "H": "host",
            "d": str(at),
            "S": str(at / "state"),
            "t": str(at / "run"),
        }
        unit = read_unit(name, specifiers)
        for kind in ("StateDirectory", "RuntimeDirectory"):
            for value in unit.all(kind):
                (Path(specifiers["S" if kind == "StateDirectory" else "t"]) / value).mkdir(parents=True)
        elsewhere = {
            "ENDPOINT_ANALYTICS_KAFKA": self.kafka.bootstrap_servers,
            "ENDPOINT_ANALYTICS_CLICKHOUSE_URL": self.clickhouse.url,
            "ENDPOINT_ANALYTICS_CLICKHOUSE_USER": self.clickhouse.config().user,
            "SERVE_PORT": str(free_port("127.0.0.1")),
            "LOG_FILE": str(at / "access.log"),
            "OTLP_LISTEN": f"127.0.0.1:{free_port('127.0.0.1')}",
            "PROXY_LISTEN": f"127.0.0.1:{free_port('127.0.0.1')}",
        }
        variables = unit.environment(environment_files())
        variables |= {key: value for key, value in elsewhere.items() if key in variables}
        words = command_of(unit, variables)[1:]
        if "--health-port" in words:
            words[words.index("--health-port") + 1] = str(free_port("127.0.0.1"))
        path = os.pathsep.join(filter(None, [str(self.package), os.environ.get("PYTHONPATH", "")]))
        ours = [sys.executable, "-m", "endpoint_analytics.infra.command"]
        confined = [sys.executable, str(CONFINE), str(DIRECTORY / f"{name}.service"), *ours, *words]
        return confined, {**os.environ, **variables, "PYTHONPATH": path, "HOME": str(at)}

    def stored(self) -> int:
        client = connect(self.clickhouse.config())
        try:
            return int(client.query("SELECT count() FROM request_windows").result_rows[0][0])
        finally:
            client.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if systemd_version() < LEAST_VERSION or shutil.which("systemd-analyze") is None:
        missing("systemd is not installed")
    with KafkaProcess(tmp_path / "kafka") as kafka, ClickHouseProcess(tmp_path / "clickhouse") as clickhouse:
        yield Machine(kafka, clickhouse, tmp_path)


def test_they_run_with_what_the_units_allow(machine: Machine, tmp_path: Path):
    ours = [sys.executable, "-m", "endpoint_analytics.infra.command"]
    topics = [*ours, "topics", "--kafka", machine.kafka.bootstrap_servers, "--partitions", "2"]
    subprocess.run(topics, check=True, capture_output=True)
    words, environment = machine.command("endpoint-analytics-migrate")
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    children = {}
    try:
        for name, ready in READY.items():
            words, environment = machine.command(name)
            children[name] = Child(words, environment, tmp_path / f"{name}.log", ready)
            children[name].start()
        status = Path(f"/proc/{children['endpoint-analytics-worker@'].pid}/status").read_text()
        assert "Seccomp:\t2" in status  # a filter
        assert "NoNewPrivs:\t1" in status
        fleet = [
            *ours,
            "fleet",
            "--kafka",
            machine.kafka.bootstrap_servers,
            "--seconds",
            "2",
            "--name",
            "acme",
        ]
        subprocess.run([*fleet, "--replicas", "5", "--endpoints", "1"], check=True, capture_output=True)
        eventually(machine.stored, lambda rows: rows > 0, 60, "rows in ClickHouse")
        assert {name: child.stop(40) for name, child in children.items()} == dict.fromkeys(children, 0)
    finally:
        for child in children.values():
            child.kill()
