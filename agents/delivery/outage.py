"""Logs Kafka outages: at most one line per minute for all topics together, and one when Kafka is back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from endpoint_analytics.agents.core.clock import now_ns

logger = logging.getLogger("endpoint_analytics")

WARN_EVERY_NS = 60 * 1_000_000_000
WRITES = "does not accept messages; retrying (the application is not affected)", "accepts messages again"
READS = "cannot be read; retrying", "is read again"


class Outage:
    """Remembers what was logged about the Kafka at `bootstrap_servers`. Used by one thread.

    Several connections may use it; it ends when none of those that complained is in trouble any longer.
    """

    def __init__(self, bootstrap_servers: str, says: tuple[str, str] = WRITES) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._begins, self._ends = says
        self._warned_ns: int | None = None
        self._complaining: set[object] = set()

    async def complain(self, explain: Callable[[], Awaitable[str]], who: object = None) -> None:
        """Log what `explain` returns, unless that was done recently; errors name hosts and topics, never secrets."""
        self._complaining.add(who)
        at_ns = now_ns()
        if self._warned_ns is None or at_ns - self._warned_ns > WARN_EVERY_NS:
            self._warned_ns = at_ns
            logger.warning("Kafka at %s %s: %s", self._bootstrap_servers, self._begins, await explain())

    def end(self, who: object = None) -> None:
        """What `who` asked of Kafka is done: log that if an outage was logged, and nobody else is in trouble."""
        self._complaining.discard(who)
        if self._warned_ns is not None and not self._complaining:
            self._warned_ns = None
            logger.info("Kafka at %s %s", self._bootstrap_servers, self._ends)
