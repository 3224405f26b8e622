"""Whether a refused resource really is missing or forbidden: only if the refusal lasts. `now_s` is an argument.

For a second after its start, a server answers 403 to everything for which it has not loaded its rules.
"""

from __future__ import annotations

from endpoint_analytics.agents.kubernetes.backoff import Backoff

CONFIRM_AFTER_S = 10.0
AGAIN_S = 300.0
"""Longest wait between retries of a refused resource; the first ones follow within seconds."""


class LastingRefusal:
    """The refusals of one resource. `worked` is whether it was ever read."""

    def __init__(self) -> None:
        self.worked = False
        self._since_s: float | None = None
        self._pace = Backoff(longest_s=AGAIN_S)

    def listed(self) -> None:
        """The resource was read."""
        self.worked, self._since_s = True, None

    def watched(self) -> None:
        """The resource is watched, too: retry soon after the next refusal."""
        self._pace.succeeded()

    def has_lasted(self, now_s: float) -> bool:
        """Return whether it has been refused for long; call this for each refusal."""
        if self._since_s is None:
            self._since_s = now_s
        return now_s - self._since_s >= CONFIRM_AFTER_S

    def wait_s(self) -> float:
        """Return how long to wait before the next try."""
        return self._pace.wait_s()
