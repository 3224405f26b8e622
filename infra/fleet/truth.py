"""The fleet's ground truth: what each boot accepted, and what of it was never sent to Kafka. Data only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from endpoint_analytics.schemas.requests import Totals

WINDOW_US = 10_000_000
"""The length of the counts' windows: 10 s, aligned to the epoch."""


class BootName(NamedTuple):
    """One start of one replica's agent."""

    namespace: str
    endpoint: str
    replica_id: str
    boot_id: str


@dataclass(slots=True)
class Counts:
    """Counts of requests in one batch, or the sum of many.

    `windows` counts by (start of the window in seconds, phase); the phases are arrived, finished,
    aborted_pending and aborted_streaming.
    """

    arrived: int = 0
    finished: int = 0
    aborted_pending: int = 0
    aborted_streaming: int = 0
    status: Counter[str] = field(default_factory=Counter)
    wait_us: int = 0
    duration_us: int = 0
    events: int = 0
    windows: Counter[tuple[int, str]] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Add other counts to these."""
        self.arrived += other.arrived
        self.finished += other.finished
        self.aborted_pending += other.aborted_pending
        self.aborted_streaming += other.aborted_streaming
        self.status.update(other.status)
        self.wait_us += other.wait_us
        self.duration_us += other.duration_us
        self.events += other.events
        self.windows.update(other.windows)

    def see(self, phase: str, at_us: int) -> None:
        """Count one request in a phase."""
        self.windows[at_us // WINDOW_US * (WINDOW_US // 1_000_000), phase] += 1

    def totals(self) -> Totals:
        """Return the counts as an agent reports them."""
        return Totals(
            arrived=self.arrived,
            finished=self.finished,
            aborted_pending=self.aborted_pending,
            aborted_streaming=self.aborted_streaming,
            status={status: count for status, count in sorted(self.status.items()) if count},
            wait_us=self.wait_us,
            duration_us=self.duration_us,
        )


@dataclass(slots=True)
class OutcomeCounts:
    """Counts of requests in one outcome batch, or the sum of many."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    gaps: int = 0
    duration_us: int = 0

    def add(self, other: OutcomeCounts) -> None:
        """Add other counts to these."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class BootTruth:
    """One boot: what it `accepted`, what of that was `lost` (batches never sent), and what Kafka `stored`.

    Numbers of batches: `batches` were stored, `left_out` never sent (`missing` of them before one that was
    sent, so a reader can detect the gap), `again` stored more than once.
    """

    accepted: Counts = field(default_factory=Counts)
    lost: Counts = field(default_factory=Counts)
    stored: Counts = field(default_factory=Counts)
    batches: int = 0
    left_out: int = 0
    missing: int = 0
    again: int = 0
    samples: int = 0
    outcomes: OutcomeCounts = field(default_factory=OutcomeCounts)
    """Those in outcome batches that were not left out."""


@dataclass(slots=True)
class FleetTruth:
    """The fleet: its boots, and everything else it sent.

    `poison` counts stored unusable messages by the reason for which they should be rejected; `poison_places`
    are their (topic, partition, offset). `uncertain` messages were sent again because Kafka did not answer:
    each may be in the Kafka log twice.
    """

    boots: dict[BootName, BootTruth] = field(default_factory=dict)
    poison: Counter[str] = field(default_factory=Counter)
    poison_places: list[tuple[str, int, int]] = field(default_factory=list)
    messages: int = 0
    bytes: int = 0
    uncertain: int = 0

    @property
    def batches(self) -> int:
        """Batches that Kafka stored, not counting duplicates."""
        return sum(boot.batches for boot in self.boots.values())

    @property
    def again(self) -> int:
        """Duplicate batches that Kafka stored."""
        return sum(boot.again for boot in self.boots.values())

    @property
    def left_out(self) -> int:
        """Batches that were never sent."""
        return sum(boot.left_out for boot in self.boots.values())

    @property
    def events(self) -> int:
        """Rows of all phases in the stored batches, not counting duplicates."""
        return sum(boot.stored.events for boot in tuple(self.boots.values()))  # another thread adds to it
