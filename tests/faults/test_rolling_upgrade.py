"""A rolling upgrade under load, as docs/operate.md describes it: exact, and whoever asks always gets an answer.

Agents, workers and query services are replaced one at a time by the next version, each with SIGTERM as systemd and
Kubernetes send it, after that version's migration, which is first interrupted. Chunks and timeouts are the real ones.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.faults import next_version
from tests.faults.rig import Parts, Rig
from tests.faults.watch import Lateness, Scraper, longest_still_s
from tests.integration.replica import Replica
from tests.support.oracle import Accepted
from tests.support.parts import Child
from tests.support.waiting import eventually

from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.store.tokens import create_token

PARTITIONS, WORKERS, SERVICES, REPLICAS = 8, 3, 2, 3
CHUNK_MS, CHUNK_OFFSETS, SESSION_TIMEOUT_S = 10_000, 50_000, 30
TRAFFIC = {"rate": 8.0, "duplicates": 0.05, "late": 0.03, "restarts": 0.01, "hardware": True}
BATCHES = 300
"""Batches that are stored after each step before the next one: a few seconds of traffic."""


class Upgrade:
    """The parts, each of which can be replaced; `environment` selects the version of what is started next."""

    def __init__(self, rig: Rig, static: bool) -> None:
        self.rig = rig
        self._static = static
        self.environment: dict[str, str] = {}
        self._ports = {f"worker-{number}": free_port("127.0.0.1") for number in range(WORKERS)}
        self._ports |= {f"serve-{number}": free_port("127.0.0.1") for number in range(SERVICES)}
        self._running: dict[str, Child] = {}
        self.names = tuple(self._ports)
        self.accepted: dict[BootKey, Accepted] = {}
        self._clients: dict[str, tuple[Replica, threading.Event, threading.Thread]] = {}

    @property
    def service_ports(self) -> list[int]:
        return [port for name, port in self._ports.items() if name.startswith("serve")]

    def start(self, name: str) -> None:
        """Start a worker or a query service, and return once it is ready."""
        port = self._ports[name]
        if name.startswith("serve"):
            words = next_version.command("serve", "--port", str(port))
            child = self.rig.program(name, words, "serve ready", **self.environment)
            child.start(120)
        else:
            child = self.rig.worker(
                name, "--health-port", str(port), static=self._static, session_timeout_s=SESSION_TIMEOUT_S,
                **self.environment,
            )  # fmt: skip
        self._running[name] = child
        eventually(lambda: is_ready(port), bool, 60, f"{name} is ready")

    def replace(self, name: str) -> None:
        """Stop it with SIGTERM, start it again, and let some traffic pass."""
        assert self._running[name].stop(60) == 0
        self.start(name)
        self.pass_traffic()

    def pass_traffic(self) -> None:
        before = self.rig.stored_batches()
        self.rig.eventually(
            self.rig.stored_batches, lambda stored: stored > before + BATCHES, "batches after a step"
        )

    def start_replica(self, name: str) -> None:
        """Start a server with the middleware, and a client that sends it one request after another."""
        replica = Replica(self.rig, "served", name, "upgraded")
        replica.child.environment = replica.child.environment | self.environment
        replica.start()
        drained = threading.Event()

        def send() -> None:
            while not drained.wait(0.05):
                assert replica.get("/status/200") == 200

        client = threading.Thread(target=send, name=name, daemon=True)
        client.start()
        self._clients[name] = replica, drained, client

    def stop_replica(self, name: str) -> None:
        """Send its clients away, remember what its agent accepted, and stop it with SIGTERM."""
        replica, drained, client = self._clients.pop(name)
        drained.set()
        client.join()
        key, accepted = replica.accepted()
        self.accepted[key] = accepted
        replica.child.stop(60)

    def stop_replicas(self) -> None:
        for name in list(self._clients):
            self.stop_replica(name)


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture
def rig(parts: Parts) -> Iterator[Rig]:
    parts.repair()
    made = Rig(parts, "upgrade", PARTITIONS, chunk_ms=CHUNK_MS, chunk_offsets=CHUNK_OFFSETS)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_all_parts_are_replaced_one_at_a_time(rig: Rig, tmp_path: Path, static: bool) -> None:
    following = next_version.install(tmp_path / "next")
    upgrade = Upgrade(rig, static)
    for name in upgrade.names:
        upgrade.start(name)
    replicas = [f"served-{number}" for number in range(REPLICAS)]
    for name in replicas:
        upgrade.start_replica(name)
    sending = rig.send_steadily(900, **TRAFFIC)
    upgrade.pass_traffic()
    scraper = Scraper(upgrade.service_ports, create_token(rig.client, "*", "tests", datetime.now(UTC)))
    lateness = Lateness(rig)
    scraper.start()
    lateness.start()
    try:
        lateness.phase("nothing is replaced")
        for _ in range(4):
            upgrade.pass_traffic()
        lateness.phase("a migration ends half-way; old parts go on")
        for statement in following.migration.statements[:2]:
            rig.client.command(statement.sql)
        upgrade.pass_traffic()
        upgrade.replace("worker-0")
        upgrade.replace("serve-0")
        lateness.phase("the migration is run; old parts start again")
        migrated = rig.command("migrate", **following.environment)
        assert f"migrated {following.migration.number} next\n" in migrated
        upgrade.replace("worker-1")
        upgrade.replace("serve-1")
        upgrade.environment = following.environment
        for kind in ("serve", "worker"):
            lateness.phase(f"each {kind} is replaced")
            for name in upgrade.names:
                if name.startswith(kind):
                    upgrade.replace(name)
        lateness.phase("each agent is replaced")
        for name in replicas:
            upgrade.stop_replica(name)
            upgrade.start_replica(name)
        upgrade.pass_traffic()
    finally:
        scraper.stop()
        lateness.stop()
    upgrade.stop_replicas()
    sending.stop()
    rig.verify(f"a rolling upgrade ({'static' if static else 'dynamic'})", also=upgrade.accepted)
    print(lateness.table())
    print(
        f"{len(scraper.answers)} answers, {len(scraper.gaps)} gaps; single services failed: {dict(scraper.failed)}; "
        f"requests stood still for {longest_still_s(scraper.answers):.1f} s at most; the oldest endpoint's data was "
        f"{max(answer.age_s for answer in scraper.answers):.1f} s old at most; "
        f"{sum(answer.unknown > 0 for answer in scraper.answers)} answers with unknown replicas; the slowest answer "
        f"took {max(answer.took_s for answer in scraper.answers):.1f} s"
    )
    assert scraper.gaps == []
    assert scraper.failed == {}
    assert scraper.backward() == []
    assert {answer.port for answer in scraper.answers} == set(upgrade.service_ports)
