"""What a fleet is told: how many replicas of what, their traffic, and which faults of theirs to play."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_analytics.infra.fleet.law import Law, parse_law
from endpoint_analytics.schemas.limits import MAX_EVENTS

STATUSES: Mapping[int, float] = {200: 0.93, 201: 0.02, 404: 0.02, 429: 0.01, 500: 0.01, 503: 0.01}
_ROWS_PER_REQUEST = 4  # of a batch: arrived, informational, responded, finished
_CROWDED = 4  # how much busier than the mean an interval may turn out


class FleetConfigError(ValueError):
    """A setting of the fleet that cannot be; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """A fleet. All chances are for each batch, but for the aborts, which are for each request.

    `rate` is requests a second for each replica. `restarts` is the chance that a new boot follows; the old one
    goes on sending for `overlap` batches more, as two processes behind one name do. `copies` is the chance that a boot
    is copied, and both go on under one boot_id, as from a snapshot that is restored twice (not to be mixed with `gaps`:
    a copy's batch may stand in for one that was never sent). `duplicates` is the chance
    that an earlier batch is sent again, `gaps` that a batch is never sent, `late` that it is held back for
    `late_batches` batches. Clocks stand off by `clock_offset_s`, give or take `clock_spread_s`.
    """

    name: str = "fleet"
    replicas: int = 100
    endpoints: int = 4
    namespaces: int = 1
    rate: float = 10.0
    interval_s: float = 1.0
    statuses: Mapping[int, float] = field(default_factory=lambda: dict(STATUSES))
    latency: Law = field(default_factory=lambda: parse_law("lognormal"))
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
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("replicas", "endpoints", "namespaces"):
            if getattr(self, name) < 1:
                raise FleetConfigError(f"{name} is {getattr(self, name)}; it takes 1 or more")
        if self.rate <= 0 or self.interval_s <= 0:
            raise FleetConfigError("rate and interval take more than 0")
        if self.rate * self.interval_s * _ROWS_PER_REQUEST * _CROWDED > MAX_EVENTS:
            raise FleetConfigError(
                f"{self.rate:g} requests/s in {self.interval_s:g} s are too many for one batch: "
                "take more replicas, or a shorter interval"
            )
        for name in ("informational", "abort_pending", "abort_streaming", "restarts", "copies", "duplicates", "gaps",
                     "late", "poison", "first_byte_share"):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise FleetConfigError(f"{name} is {getattr(self, name)}; it takes 0 to 1")
        if self.copies and self.gaps:
            raise FleetConfigError("copies and gaps do not go together: nobody could say what is missing")
        if not self.statuses or not all(200 <= status <= 599 for status in self.statuses):
            raise FleetConfigError("statuses take final HTTP statuses, 200 to 599, and at least one")
