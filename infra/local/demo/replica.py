"""One replica of the demo endpoint: a uvicorn process, and the states that an orchestrator would report for it.

States reported by the replica's own agent (initializing, running, draining, terminated) are not reported here again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.agents.delivery.orchestrator_events import SendError, send_replica_message
from endpoint_analytics.infra.local.demo import engine_metrics
from endpoint_analytics.infra.local.demo.identity import ENDPOINT, NAMESPACE
from endpoint_analytics.infra.local.demo.traffic import TrafficTarget
from endpoint_analytics.infra.local.system.child import spawn
from endpoint_analytics.infra.local.system.logs import rotate
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.replicas import ReplicaState, State

HOST = "127.0.0.1"
READY_WITHIN_S = 30.0
STOP_WITHIN_S = 3.0
REPORTED_WITHIN_S = 5.0
GRACE_S = 1

Step = tuple[State, float, str]


class ReplicaError(Exception):
    """A replica did not start."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What all replicas share: Kafka's address, the working directory, the directory of logs."""

    kafka: str
    directory: Path
    logs: Path

    async def report(self, replica_id: str, state: State, reason: str, at_us: int) -> None:
        """Report a state; if Kafka is unavailable the demo continues without it."""
        message = ReplicaState(
            namespace=NAMESPACE,
            endpoint=ENDPOINT,
            replica_id=replica_id,
            at_us=at_us,
            state=state,
            reason=reason,
        )
        with suppress(SendError):
            await send_replica_message(message, KafkaConfig(bootstrap_servers=self.kafka), REPORTED_WITHIN_S)


class DemoReplica:
    """A replica that can be started and stopped any number of times; each start is a new boot. Port 0: a free port."""

    def __init__(self, replica_id: str, environment: Environment, port: int = 0) -> None:
        self.replica_id = replica_id
        self.busy = asyncio.Lock()
        """Held while its state changes, so that only one task changes it."""
        self.target: TrafficTarget | None = None
        """Its address while it accepts requests; None otherwise."""
        self._environment = environment
        self._port = port
        self._child: subprocess.Popen[bytes] | None = None

    def status(self) -> int | None:
        """Return the exit status of a replica that ended unexpectedly; None otherwise."""
        return None if self._child is None else self._child.poll()

    async def start(self, story: Sequence[Step] = ()) -> None:
        """Report the states of `story` (state, its duration in seconds, reason), then start.

        Returns once it accepts requests. Does nothing if it runs already. Raises ReplicaError.
        """
        if self._child is not None:
            return
        for state, seconds, reason in story:
            await self.report(state, reason)
            await asyncio.sleep(seconds)
        port = self._port or free_port(HOST)
        log = self._environment.logs / f"{self.replica_id}.log"
        rotate(log)
        words = [
            "-m",
            "uvicorn",
            "--factory",
            "endpoint_analytics.infra.local.demo.app:create",
            "--host",
            HOST,
        ]
        words += ["--port", str(port), "--no-access-log", "--log-level", "warning", "--no-server-header"]
        words += ["--timeout-graceful-shutdown", str(GRACE_S)]
        environ = {
            **os.environ,
            "ENDPOINT_ANALYTICS_KAFKA": self._environment.kafka,
            "ENDPOINT_ANALYTICS_REPLICA_ID": self.replica_id,
            "ENDPOINT_ANALYTICS_SCRAPE": f"http://{HOST}:{port}{engine_metrics.PATH}",
            "ENDPOINT_ANALYTICS_SCRAPE_METRICS": engine_metrics.MAPPING,
        }
        self._child = await asyncio.to_thread(
            spawn,
            [sys.executable, "-P", *words],
            cwd=self._environment.directory,
            output=log,
            environ=environ,
        )
        await self._until_it_listens(port)
        self.target = TrafficTarget(self.replica_id, f"http://{HOST}:{port}")

    async def end(self, drain_s: float = 0.0) -> None:
        """Accept no more requests, let the running ones finish, and stop; its agent reports `terminated`."""
        self.target = None
        if self._child is None:
            return
        if drain_s:
            await self.report("draining", "taken out of the balancer")
            await asyncio.sleep(drain_s)
        child, self._child = self._child, None
        child.terminate()
        try:
            await asyncio.to_thread(child.wait, STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
            await asyncio.to_thread(child.wait)

    async def kill(self) -> None:
        """Kill it with SIGKILL, in the middle of its work."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            await asyncio.to_thread(child.wait)
        self.target = None

    def forget(self) -> None:
        """Forget a process that ended unexpectedly."""
        self._child = self.target = None

    async def report(self, state: State, reason: str = "") -> None:
        """Report a state that an orchestrator would know."""
        await self._environment.report(self.replica_id, state, reason, time.time_ns() // 1_000)

    async def _until_it_listens(self, port: int) -> None:
        deadline_s = asyncio.get_running_loop().time() + READY_WITHIN_S
        while not await asyncio.to_thread(_listens, port):
            if (status := self.status()) is not None:
                self.forget()
                raise ReplicaError(f"{self.replica_id} exited with status {status} while starting")
            if asyncio.get_running_loop().time() > deadline_s:
                await self.kill()
                raise ReplicaError(f"{self.replica_id} did not listen within {READY_WITHIN_S:g} s")
            await asyncio.sleep(0.1)


def _listens(port: int) -> bool:
    """Whether something listens on the port; an HTTP request would be counted."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
