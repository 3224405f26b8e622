"""What became of all spans since the start, for /status and the receiver's log: rejections are logged once a minute."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from endpoint_analytics.agents.otlp.intake import Received
from endpoint_analytics.agents.otlp.rejections import explain

logger = logging.getLogger("endpoint_analytics")

LOG_EVERY_S = 60.0


@dataclass(slots=True)
class Tally:
    """`spans` by what became of them, `rejected` ones by reason; `bad_bodies` could not be decoded."""

    spans: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    bad_bodies: int = 0
    _logged: Counter[str] = field(default_factory=Counter)
    _logged_s: float | None = None

    def add(self, received: Received, now_s: float) -> None:
        """Count what was received; `now_s` is of a monotonic clock."""
        for name in ("accepted", "repeated", "ignored", "sampled"):
            self.spans[name] += getattr(received, name)
        self.rejected.update(received.rejected)
        if self.rejected != self._logged and (
            self._logged_s is None or now_s - self._logged_s >= LOG_EVERY_S
        ):
            logger.warning("rejected spans: %s", explain(self.rejected - self._logged))
            self._logged_s, self._logged = now_s, self.rejected.copy()

    def add_bad_body(self, why: str) -> None:
        """Count a body that could not be decoded; the first is logged."""
        if not self.bad_bodies:
            logger.warning("a body cannot be used; others will only be counted: %s", why)
        self.bad_bodies += 1
