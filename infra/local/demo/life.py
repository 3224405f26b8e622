"""The life of the demo's replicas: follows the timetable, and restarts replicas that ended unexpectedly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.agents.delivery.orchestrator_events import SendError, send_replica_message
from endpoint_analytics.infra.local.demo.identity import ENDPOINT, EXTRA, FIRST, KILLED, NAMESPACE, RESTARTED
from endpoint_analytics.infra.local.demo.replica import (
    REPORTED_WITHIN_S,
    DemoReplica,
    Environment,
    ReplicaError,
    Step,
)
from endpoint_analytics.infra.local.demo.timetable import Event, due
from endpoint_analytics.infra.local.demo.traffic import TrafficTarget
from endpoint_analytics.infra.local.system.restart import RestartRule
from endpoint_analytics.schemas.replicas import EndpointSettings

POLL_EVERY_S = 0.25
MIN_REPLICAS, MAX_REPLICAS = 2, 3
# What an orchestrator does before the container starts: state, duration in seconds, reason.
SCHEDULED: tuple[Step, ...] = (("pending", 0.3, "scheduled"),)
FROM_NOTHING: tuple[Step, ...] = (
    ("pending", 2.5, "waiting for a machine"),
    ("downloading", 4.0, "model weights"),
    ("pulling", 3.0, "container image"),
)
AGAIN: tuple[Step, ...] = (("pending", 2.0, "scheduled again"), ("pulling", 2.0, "container image"))
DRAIN_S = 3.0
FAILED_S = 6.0


class DemoLife:
    """The replicas by their IDs. `say` shows a line to the user, `log` only logs it."""

    def __init__(
        self,
        environment: Environment,
        port: int,
        pace: float,
        say: Callable[[str], None],
        log: Callable[[str], None],
    ) -> None:
        self.replicas = {
            name: DemoReplica(name, environment, port if name == FIRST else 0)
            for name in (FIRST, RESTARTED, KILLED, EXTRA)
        }
        self._kafka = environment.kafka
        self._pace = pace
        self._say = say
        self._log = log
        self._rule = RestartRule(failures=1_000_000)
        self._failures = dict.fromkeys(self.replicas, 0)
        self._tasks: set[asyncio.Task[None]] = set()

    def targets(self) -> Sequence[TrafficTarget]:
        """Return the replicas that accept requests now."""
        return [replica.target for replica in self.replicas.values() if replica.target is not None]

    async def begin(self) -> None:
        """Start the first replicas; returns when they accept requests. One more follows later, from scratch."""
        self._do(self._settings(MAX_REPLICAS))
        await asyncio.gather(*(self._start(self.replicas[name], SCHEDULED) for name in (FIRST, RESTARTED)))
        self._do(self._start(self.replicas[KILLED], FROM_NOTHING))

    async def run(self) -> None:
        """Follow the timetable until cancelled."""
        began_s = time.monotonic()
        lived_s = 0.0
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            before_s, lived_s = lived_s, (time.monotonic() - began_s) * self._pace
            for event in due(before_s, lived_s):
                self._log(event)
                self._do(self._play(event))
            for replica in self.replicas.values():
                if replica.status() is not None and not replica.busy.locked():
                    self._do(self._recover(replica))

    async def end(self) -> None:
        """Stop all replicas in parallel."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(replica.end() for replica in self.replicas.values()))

    async def _play(self, event: Event) -> None:
        match event:
            case "restart":
                replica = self.replicas[RESTARTED]
                async with replica.busy:
                    await replica.end(DRAIN_S)
                await self._start(replica, AGAIN)
            case "kill":
                await self._kill(self.replicas[KILLED])
            case "scale up":
                await self._settings(MAX_REPLICAS + 1)
                await self._start(self.replicas[EXTRA], FROM_NOTHING)
            case "scale down":
                async with self.replicas[EXTRA].busy:
                    await self.replicas[EXTRA].end(DRAIN_S)
                await self._settings(MAX_REPLICAS)

    async def _kill(self, replica: DemoReplica) -> None:
        async with replica.busy:
            await replica.kill()
            await replica.report("failed", "killed by signal 9")
            await asyncio.sleep(FAILED_S)
        await self._start(replica, AGAIN)

    async def _recover(self, replica: DemoReplica) -> None:
        """Restart a replica that ended unexpectedly, after a growing delay."""
        async with replica.busy:
            if (status := replica.status()) is None:
                return
            replica.forget()
            failures = self._failures[replica.replica_id] = self._failures[replica.replica_id] + 1
            wait_s = self._rule.wait_s(min(failures, 10)) or 0.0
            self._say(f"{replica.replica_id} ended with status {status}: restarting in {wait_s:g} s")
            await replica.report("failed", f"ended with status {status}")
            await asyncio.sleep(wait_s)
        await self._start(replica, SCHEDULED)

    async def _start(self, replica: DemoReplica, story: Sequence[Step]) -> None:
        async with replica.busy:
            while True:
                try:
                    await replica.start(story)
                except ReplicaError as error:
                    self._say(str(error))
                    await replica.report("failed", str(error))
                    await asyncio.sleep(self._rule.most_s)
                else:
                    return

    async def _settings(self, max_replicas: int) -> None:
        message = EndpointSettings(
            namespace=NAMESPACE,
            endpoint=ENDPOINT,
            at_us=time.time_ns() // 1_000,
            min_replicas=MIN_REPLICAS,
            max_replicas=max_replicas,
        )
        with suppress(SendError):
            await send_replica_message(message, KafkaConfig(bootstrap_servers=self._kafka), REPORTED_WITHIN_S)

    def _do(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
