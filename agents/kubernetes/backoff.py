"""The wait after a failure: exponential backoff with jitter that respects Retry-After and resets after a success.
Pure, except for the jitter."""

from __future__ import annotations

import random

FIRST_S, LONGEST_S = 0.5, 30.0
MAX_RETRY_AFTER_S = 300.0


class Backoff:
    """The backoff of one repeated operation. `first_s` is the first wait."""

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._next_s = first_s

    def succeeded(self) -> None:
        """Reset the backoff."""
        self._next_s = self._first_s

    def wait_s(self, retry_after_s: float | None = None) -> float:
        """Return the wait after another failure: between half and all of the current backoff, after `retry_after_s`."""
        wait_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311  # it only spreads retries
        self._next_s = min(self._next_s * 2, self._longest_s)
        if retry_after_s is None:
            return wait_s
        return min(retry_after_s, MAX_RETRY_AFTER_S) + wait_s
