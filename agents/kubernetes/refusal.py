"""Whether a resource that is refused is not there, or may not be read: believed when it lasts. `now_s` is an argument.

A server that starts answers 403, for a second, to everything that it has not read its rules for.
"""

from __future__ import annotations

from endpoint_analytics.agents.kubernetes.pace import Pace

LASTS_S = 10.0
AGAIN_S = 300.0
"""What is refused is tried again in seconds at first, and so seldom in the end."""


class Refusal:
    """Of one resource. `worked` is whether it was ever read."""

    def __init__(self) -> None:
        self.worked = False
        self._since_s: float | None = None
        self._pace = Pace(longest_s=AGAIN_S)

    def listed(self) -> None:
        """The resource was read."""
        self.worked, self._since_s = True, None

    def watched(self) -> None:
        """It is watched, too: the next refusal is tried again soon."""
        self._pace.succeeded()

    def has_lasted(self, now_s: float) -> bool:
        """Return whether it has been refused for long; to be called with each refusal."""
        if self._since_s is None:
            self._since_s = now_s
        return now_s - self._since_s >= LASTS_S

    def wait_s(self) -> float:
        """Return how long to wait before it is asked for again."""
        return self._pace.wait_s()
