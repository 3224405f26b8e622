"""When a part that ended is started again, and when that is given up. Pure; `now` is the caller's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartRule:
    """Each failure in a row doubles the wait; one that comes after `steady_s` of running begins a new row."""

    first_s: float = 0.5
    most_s: float = 10.0
    failures: int = 6
    steady_s: float = 60.0

    def wait_s(self, failures: int) -> float | None:
        """How long to wait after so many failures in a row; None when it is to be given up."""
        if failures >= self.failures:
            return None
        return float(min(self.most_s, self.first_s * 2 ** (failures - 1)))

    def count(self, failures: int, ran_s: float) -> int:
        """The failures in a row after one more, that came after `ran_s` of running."""
        return 1 if ran_s >= self.steady_s else failures + 1
