"""One replica of a fleet: its successive boots, and the faults injected into their batches.

Pure except for its own state; the messages' callbacks report what Kafka has stored.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from endpoint_analytics.infra.fleet.boot import SimulatedBoot
from endpoint_analytics.infra.fleet.config import FleetConfig
from endpoint_analytics.infra.fleet.hardware import hardware_batch
from endpoint_analytics.infra.fleet.outcomes import outcome_batch
from endpoint_analytics.infra.fleet.poison import any_poison
from endpoint_analytics.infra.fleet.sender import Message
from endpoint_analytics.infra.fleet.truth import BootName, BootTruth, Counts, FleetTruth
from endpoint_analytics.schemas.codec import encode, encode_requests
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.topics import HARDWARE, OUTCOMES, REQUESTS

_REMEMBERED = 8  # batches that can be sent again


@dataclass(slots=True)
class _Held:
    message: Message
    rounds: int


class FleetReplica:
    """Replica `number` of the fleet; `mark` distinguishes this run's boots from those of other runs."""

    def __init__(self, number: int, config: FleetConfig, mark: str, prefix: str, truth: FleetTruth) -> None:
        self._config = config
        self._rng = random.Random(f"{config.seed}/{number}")  # noqa: S311 - load, no secrets
        self._mark = f"{mark}-{number}"
        self._truth = truth
        self._topic = REQUESTS.name(prefix)
        self._hardware_topic = HARDWARE.name(prefix)
        self._outcomes_topic = OUTCOMES.name(prefix)
        endpoint = number % config.endpoints
        namespace = endpoint % config.namespaces
        self._namespace = config.name if config.namespaces == 1 else f"{config.name}-{namespace}"
        self._endpoint = f"endpoint-{endpoint}"
        self._replica_id = f"replica-{number}"
        self.key = partition_key(self._namespace, self._endpoint, self._replica_id)
        self._clock_us = int(
            (config.clock_offset_s + self._rng.uniform(-1, 1) * config.clock_spread_s) * 1_000_000
        )
        self._boots: list[SimulatedBoot] = []
        self._leaving: dict[str, int] = {}  # boot ID -> batches that it still sends
        self._sent: list[tuple[BootTruth, bytes]] = []
        self._held: list[_Held] = []
        self._count = 0
        self._copies = 0

    def step(self, start_us: int, end_us: int) -> Iterator[Message]:
        """Yield the messages of one interval of true time, including earlier ones whose delay is over."""
        yield from self._released()
        if not self._boots or self._rng.random() < self._config.restarts:
            self._begin(start_us)
        if self._config.copies and self._rng.random() < self._config.copies:
            self._copies += 1
            rng = random.Random(self._rng.random())  # noqa: S311 - load
            self._boots.append(self._boots[-1].copy(rng, self._copies))
        for boot in list(self._boots):
            yield from self._flush(boot, end_us)
            if boot.name.boot_id in self._leaving:
                self._leaving[boot.name.boot_id] -= 1
                if self._leaving[boot.name.boot_id] < 0:
                    self._boots.remove(boot)

    def rest(self) -> Iterator[Message]:
        """Yield the messages that are still held back."""
        for held in self._held:
            yield held.message
        self._held = []

    def _begin(self, start_us: int) -> None:
        """Start a boot; earlier ones continue for some batches, and end with their requests still pending."""
        overlap = self._config.overlap
        if overlap:
            self._leaving.update(
                {b.name.boot_id: overlap for b in self._boots if b.name.boot_id not in self._leaving}
            )
        else:
            self._boots.clear()
        name = BootName(self._namespace, self._endpoint, self._replica_id, f"{self._mark}-{self._count}")
        self._count += 1
        self._truth.boots[name] = BootTruth()
        self._boots.append(SimulatedBoot(name, self._config, self._rng, start_us + self._clock_us))

    def _flush(self, boot: SimulatedBoot, end_us: int) -> Iterator[Message]:
        config, rng, truth = self._config, self._rng, self._truth.boots[boot.name]
        batch, counts = boot.batch(end_us + self._clock_us)
        truth.accepted.add(counts)
        outcomes = outcome_batch(batch, boot.outcomes, rng) if config.outcomes else None
        if rng.random() < config.gaps:
            truth.lost.add(counts)
            truth.left_out += 1
            return
        truth.missing = truth.left_out
        value = encode_requests(batch, "packed")
        message = Message(self._topic, self.key, value, partial(self._stored, truth, counts, value))
        if rng.random() < config.late:
            self._held.append(_Held(message, config.late_batches))
        else:
            yield message
        if outcomes is not None:
            ended, told = outcomes
            truth.outcomes.add(told)
            yield from self._outcomes(encode(ended), truth)
        if config.duplicates and self._sent and rng.random() < config.duplicates:
            of, again = rng.choice(self._sent)
            yield Message(self._topic, self.key, again, partial(self._stored_again, of, again))
        if config.poison and rng.random() < config.poison:
            made = any_poison(batch, rng)
            yield Message(self._topic, self.key, made.value, partial(self._stored_poison, made.reason))
        if config.hardware:
            samples = hardware_batch(batch, rng)
            yield Message(
                self._hardware_topic, self.key, encode(samples), partial(self._stored_samples, truth)
            )

    def _outcomes(self, value: bytes, truth: BootTruth) -> Iterator[Message]:
        """Yield an outcome batch, late or twice with the same chances as a request batch."""
        config, rng = self._config, self._rng
        message = Message(self._outcomes_topic, self.key, value, partial(self._stored_outcomes, truth))
        if rng.random() < config.late:
            self._held.append(_Held(message, config.late_batches))
        else:
            yield message
        if rng.random() < config.duplicates:
            yield message

    def _released(self) -> Iterator[Message]:
        waiting = []
        for held in self._held:
            held.rounds -= 1
            if held.rounds > 0:
                waiting.append(held)
            else:
                yield held.message
        self._held = waiting

    def _stored(self, truth: BootTruth, counts: Counts, value: bytes, partition: int, offset: int) -> None:  # noqa: ARG002
        truth.stored.add(counts)
        truth.batches += 1
        self._sent.append((truth, value))
        del self._sent[:-_REMEMBERED]
        self._see(value)

    def _stored_again(self, truth: BootTruth, value: bytes, partition: int, offset: int) -> None:  # noqa: ARG002
        truth.again += 1
        self._see(value)

    def _stored_poison(self, reason: str, partition: int, offset: int) -> None:
        self._truth.poison[reason] += 1
        self._truth.poison_places.append((self._topic, partition, offset))
        self._truth.messages += 1

    def _stored_samples(self, truth: BootTruth, partition: int, offset: int) -> None:  # noqa: ARG002
        truth.samples += 1
        self._truth.messages += 1

    def _stored_outcomes(self, truth: BootTruth, partition: int, offset: int) -> None:  # noqa: ARG002
        self._truth.messages += 1

    def _see(self, value: bytes) -> None:
        self._truth.messages += 1
        self._truth.bytes += len(value)
