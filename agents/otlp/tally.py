"""What became of all spans since the start, for /status and the receiver's log: each trouble at most once a minute."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from endpoint_analytics.agents.otlp.intake import Received
from endpoint_analytics.agents.otlp.rejections import explain

logger = logging.getLogger("endpoint_analytics")

LOG_EVERY_S = 60.0


@dataclass(slots=True)
class Trouble:
    """Counts something that should not happen: the log tells how often, and the newest reason, once a minute."""

    message: str
    now_s: Callable[[], float] = time.monotonic
    count: int = 0
    _why: str = ""
    _logged: int = 0
    _logged_s: float | None = None

    def add(self, number: int, why: str) -> None:
        """Count; `message` gets the number since the last log line, and `why`."""
        self.count += number
        self._why = why
        if self._logged_s is None or self.now_s() - self._logged_s >= LOG_EVERY_S:
            self.log_rest()

    def log_rest(self) -> None:
        """Log what was counted since the last log line."""
        if self.count > self._logged:
            logger.warning(self.message, self.count - self._logged, self._why)
            self._logged_s, self._logged = self.now_s(), self.count


@dataclass(slots=True)
class Tally:
    """`spans` by what became of them, `rejected` ones by reason."""

    spans: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    bad_bodies: Trouble = field(
        default_factory=lambda: Trouble("%d exports cannot be used, the last one: %s")
    )
    unreadable: Trouble = field(
        default_factory=lambda: Trouble("%d offsets of the topic cannot be read, and are skipped: %s")
    )
    returned: Trouble = field(
        default_factory=lambda: Trouble("%d requests are left to their exporters, to be sent again: %s")
    )
    lost_states: Trouble = field(default_factory=lambda: Trouble("%d replica states are lost: %s"))
    _logged: Counter[str] = field(default_factory=Counter)
    _logged_s: float | None = None

    def add(self, received: Received, now_s: float) -> None:
        """Count what was received; `now_s` is of a monotonic clock."""
        for name in ("accepted", "repeated", "ignored", "sampled"):
            self.spans[name] += getattr(received, name)
        self.rejected.update(received.rejected - received.rejected_again)
        if self._logged_s is None or now_s - self._logged_s >= LOG_EVERY_S:
            self._log_rejected(now_s)

    def log_rest(self) -> None:
        """Log what was counted since the last log lines."""
        self._log_rejected(None)
        for trouble in (self.bad_bodies, self.unreadable, self.returned, self.lost_states):
            trouble.log_rest()

    def _log_rejected(self, now_s: float | None) -> None:
        if self.rejected != self._logged:
            logger.warning("rejected spans: %s", explain(self.rejected - self._logged))
            self._logged_s, self._logged = now_s, self.rejected.copy()
