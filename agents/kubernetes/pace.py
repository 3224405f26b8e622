"""How long to wait after a failure: longer each time, spread by chance, as long as a server asks, short again
after success. Pure but for the chance."""

from __future__ import annotations

import random

FIRST_S, LONGEST_S = 0.5, 30.0
MOST_ASKED_S = 300.0


class Pace:
    """Of one thing that is tried again and again. `first_s` is the first wait."""

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._next_s = first_s

    def succeeded(self) -> None:
        """Begin anew."""
        self._next_s = self._first_s

    def wait_s(self, asked_s: float | None = None) -> float:
        """Return the wait after one more failure: from half to the whole of what it has grown to, and no less
        than `asked_s`."""
        wait_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311  # it only spreads retries
        self._next_s = min(self._next_s * 2, self._longest_s)
        if asked_s is None:
            return wait_s
        return min(asked_s, MOST_ASKED_S) + wait_s
