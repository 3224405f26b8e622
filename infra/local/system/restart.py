"""When to restart a part that ended, and when to give up. Pure: durations are arguments."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartRule:
    """Each consecutive failure doubles the wait; a failure after running for `steady_s` starts a new count."""

    first_s: float = 0.5
    most_s: float = 10.0
    failures: int = 6
    steady_s: float = 60.0

    def wait_s(self, failures: int) -> float | None:
        """Return how long to wait after this many consecutive failures; None to give up."""
        if failures >= self.failures:
            return None
        return float(min(self.most_s, self.first_s * 2 ** (failures - 1)))

    def count(self, failures: int, ran_s: float) -> int:
        """Return the number of consecutive failures after another one that followed `ran_s` of running."""
        return 1 if ran_s >= self.steady_s else failures + 1
