"""The compose file before Compose's own library, promtool and a real broker, and its services as plain processes.

There is no container runtime in these tests: images, networks, volumes and health checks in containers are not run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from tests.infra.deploy.compose.project import DIRECTORY, FILE, SERVICES, environment_of
from tests.support.judges import go_package, go_program
from tests.support.parts import ROOT, Child
from tests.support.waiting import eventually

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.system.port import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HERE = Path(__file__).parent
LISTENERS = re.compile(r"LISTENER|QUORUM_VOTERS|LOG_DIRS|NODE_ID|PROCESS_ROLES")


def loaded(*paths: Path) -> dict:
    made = subprocess.run([go_program(HERE / "compose_go"), *paths], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def test_composes_library_loads_it():
    """With its schema, its checks of dependencies, and its merge keys."""
    project = loaded(FILE)
    assert project["services"].keys() == SERVICES.keys()
    for name, found in SERVICES.items():
        assert project["services"][name]["image"] == found["image"]
        assert (project["services"][name].get("environment") or {}) == environment_of(name)
    assert {port["host_ip"] for found in project["services"].values() for port in found.get("ports", ())} == {
        "127.0.0.1"
    }
    assert project["services"]["topics"].get("secrets", []) == []


def test_an_unknown_member_would_be_seen(tmp_path: Path):
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text().replace("healthcheck:", "health_check:", 1))
    made = subprocess.run([go_program(HERE / "compose_go"), wrong], capture_output=True, text=True)
    assert made.returncode != 0
    assert "services.kafka.health_check" in made.stderr


def test_promtool_takes_the_configuration(tmp_path: Path):
    """All but the discovery of workers by DNS, which this promtool is built without."""
    promtool = go_package("github.com/prometheus/prometheus/cmd/promtool", "v0.316.0", "remove_all_sd")
    for name in ("endpoints", "pipeline"):
        rules = f"{name}.rules.yaml"
        (tmp_path / rules).write_text((ROOT / "infra/deploy/monitoring/prometheus" / rules).read_text())
    (tmp_path / "token").write_text("eat_x")
    text = (DIRECTORY / "prometheus.yaml").read_text().replace("/run/endpoint-analytics/", f"{tmp_path}/")
    text, replaced = re.subn(r"dns_sd_configs: .*", 'static_configs: [{targets: ["worker:6066"]}]', text)
    assert replaced == 1
    (tmp_path / "prometheus.yaml").write_text(text)
    made = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yaml"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert "2 rule files found" in made.stdout


def test_a_broker_takes_the_settings(tmp_path: Path):
    """Those beside its addresses and its node, which a test cannot use."""
    given = {name: value for name, value in environment_of("kafka").items() if not LISTENERS.search(name)}
    settings = {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in given.items()}
    assert len(settings) >= 8
    with KafkaProcess(tmp_path / "kafka", settings=settings | {"no.such.setting": "1"}) as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        resource = ConfigResource(ResourceType.BROKER, "1")
        found = admin.describe_configs([resource], request_timeout=30)[resource].result()
    assert {name: found[name].value for name in settings} == settings
    assert (
        found["no.such.setting"].value is None
    )  # the broker shows the value of no setting that it does not know


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A real Kafka and the ClickHouse engine; the variables with which the services of the file reach them."""
    with KafkaProcess(tmp_path / "kafka") as kafka, ClickHouseProcess(tmp_path / "clickhouse") as clickhouse:
        password = tmp_path / "clickhouse-password"
        password.write_text(clickhouse.config().password)
        yield {
            "ENDPOINT_ANALYTICS_KAFKA": kafka.bootstrap_servers,
            "ENDPOINT_ANALYTICS_CLICKHOUSE_URL": clickhouse.url,
            "ENDPOINT_ANALYTICS_CLICKHOUSE_USER": clickhouse.config().user,
            "ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD_FILE": str(password),
            "ENDPOINT_ANALYTICS_OTLP_TOKEN_FILE": str(password),
        }


def test_the_services_run_with_these_commands_and_variables(outside: dict[str, str], tmp_path: Path):
    """In the order of the file: topics, migrate, token, then the worker, the query service and the signals; the health
    checks pass, and what a fleet sends comes out of the query service with the token that Prometheus would have.
    """
    ours = [sys.executable, "-m", "endpoint_analytics.infra.command"]
    ports = {port: str(free_port("127.0.0.1")) for port in ("6066", "8080")}
    ports["0.0.0.0:4318"] = f"127.0.0.1:{free_port('127.0.0.1')}"

    def environment(service: str) -> dict[str, str]:
        """Return the service's own variables, with our addresses in place of the file's."""
        names = environment_of(service)
        elsewhere = {name: outside[name] for name in names if name in outside}
        assert names.keys() - elsewhere.keys() <= {
            name for name in names if "RETENTION" in name or "DATABASE" in name
        }
        return {**os.environ, **names, **elsewhere, "PYTHONUNBUFFERED": "1"}

    def words(service: str) -> list[str]:
        return [*ours, *(ports.get(word, word) for word in SERVICES[service]["command"])]

    for service in ("topics", "migrate"):
        done = subprocess.run(words(service), env=environment(service), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    program = tmp_path / "bin" / "endpoint-analytics"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(ours)} "$@"\n')
    program.chmod(0o755)
    kept = tmp_path / "token"
    kept.mkdir()
    script = SERVICES["token"]["command"][0].replace("/var/lib/endpoint-analytics", str(kept))
    tokens = []
    for _ in range(2):
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            [*SERVICES["token"]["entrypoint"], script], check=True, env=environment("token") | {"PATH": path}
        )
        tokens.append((kept / "token").read_text())
    assert tokens[0] == tokens[1]
    assert tokens[0].startswith("eat_")

    ready = {"worker": "worker ready", "query-service": "serve ready", "signals": "signals ready",
             "otlp": "otlp receiver ready"}  # fmt: skip
    children = {
        name: Child(words(name), environment(name), tmp_path / f"{name}.log", ready[name]) for name in ready
    }
    try:
        for child in children.values():
            child.start()
        for name in ("worker", "query-service"):
            test = SERVICES[name]["healthcheck"]["test"]
            check = [sys.executable, "-c", re.sub(r":(\d+)/", lambda match: f":{ports[match[1]]}/", test[3])]
            eventually(lambda check=check: subprocess.run(check, capture_output=True).returncode,
                       lambda status: status == 0, 30, f"{name} is healthy")  # fmt: skip
        fleet = [
            *ours,
            "fleet",
            "--kafka",
            outside["ENDPOINT_ANALYTICS_KAFKA"],
            "--seconds",
            "3",
            "--name",
            "acme",
        ]
        subprocess.run(
            [*fleet, "--replicas", "5", "--endpoints", "1"],
            check=True,
            capture_output=True,
            env=dict(os.environ),
        )

        def scraped() -> str:
            request = urllib.request.Request(
                f"http://127.0.0.1:{ports['8080']}/v2/open-metrics",
                headers={"Authorization": f"Bearer {tokens[0].strip()}"},
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.read().decode()

        eventually(scraped, lambda text: 'endpoint_namespace="acme"' in text, 60, "the fleet's endpoint")
        assert {name: child.stop() for name, child in children.items()} == dict.fromkeys(children, 0)
    finally:
        for child in children.values():
            child.kill()
