"""The settings of a fleet: its replicas, their traffic, and which of their faults to simulate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_analytics.infra.fleet.latency import LatencyDistribution, parse_latency
from endpoint_analytics.schemas.limits import MAX_EVENTS

STATUSES: Mapping[int, float] = {200: 0.93, 201: 0.02, 404: 0.02, 429: 0.01, 500: 0.01, 503: 0.01}
_ROWS_PER_REQUEST = 4  # in a batch: arrived, informational, responded, finished
_CROWDED = 4  # how much busier than average an interval may get


class FleetConfigError(ValueError):
    """An invalid fleet setting; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """A fleet. All probabilities are per batch, except those of aborts, which are per request.

    `rate` is in requests per second per replica. `restarts` is the probability that a new boot follows; the old one
    keeps sending for `overlap` more batches, like two processes behind one name. `copies` is the probability that a
    boot is copied and both continue under one boot_id, like a snapshot that is restored twice (not allowed together
    with `gaps`: a copy's batch could replace one that was never sent). `duplicates` is the probability that an earlier
    batch is sent again, `gaps` that a batch is never sent, `late` that it is held back for `late_batches` batches.
    Clocks are off by `clock_offset_s`, plus or minus `clock_spread_s`.
    """

    name: str = "fleet"
    replicas: int = 100
    endpoints: int = 4
    namespaces: int = 1
    rate: float = 10.0
    interval_s: float = 1.0
    statuses: Mapping[int, float] = field(default_factory=lambda: dict(STATUSES))
    latency: LatencyDistribution = field(default_factory=lambda: parse_latency("lognormal"))
    first_byte_share: float = 0.4
    informational: float = 0.01
    abort_pending: float = 0.01
    abort_streaming: float = 0.01
    restarts: float = 0.0
    overlap: int = 0
    copies: float = 0.0
    duplicates: float = 0.0
    gaps: float = 0.0
    late: float = 0.0
    late_batches: int = 5
    clock_offset_s: float = 0.0
    clock_spread_s: float = 0.0
    poison: float = 0.0
    hardware: bool = False
    outcomes: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("replicas", "endpoints", "namespaces"):
            if getattr(self, name) < 1:
                raise FleetConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if self.rate <= 0 or self.interval_s <= 0:
            raise FleetConfigError("rate and interval must be greater than 0")
        if self.rate * self.interval_s * _ROWS_PER_REQUEST * _CROWDED > MAX_EVENTS:
            raise FleetConfigError(
                f"{self.rate:g} requests/s over {self.interval_s:g} s are too many for one batch: "
                "use more replicas, or a shorter interval"
            )
        for name in ("informational", "abort_pending", "abort_streaming", "restarts", "copies", "duplicates", "gaps",
                     "late", "poison", "first_byte_share"):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise FleetConfigError(f"{name} is {getattr(self, name)}; expected 0 to 1")
        if self.copies and self.gaps:
            raise FleetConfigError(
                "copies and gaps cannot be combined: missing batches could not be identified"
            )
        if not self.statuses or not all(200 <= status <= 599 for status in self.statuses):
            raise FleetConfigError("expected at least one status, each a final HTTP status (200 to 599)")
