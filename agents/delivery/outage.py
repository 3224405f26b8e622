"""Logs Kafka outages: at most one line per minute for all topics together, and one when Kafka is back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from endpoint_analytics.agents.core.clock import now_ns

logger = logging.getLogger("endpoint_analytics")

WARN_EVERY_NS = 60 * 1_000_000_000


class Outage:
    """Remembers what was logged about the Kafka at `bootstrap_servers`. Used by one thread."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._warned_ns: int | None = None

    async def complain(self, explain: Callable[[], Awaitable[str]]) -> None:
        """Log what `explain` returns, unless that was done recently; errors name hosts and topics, never secrets."""
        at_ns = now_ns()
        if self._warned_ns is None or at_ns - self._warned_ns > WARN_EVERY_NS:
            self._warned_ns = at_ns
            logger.warning(
                "Kafka at %s does not accept messages; retrying (the application is not affected): %s",
                self._bootstrap_servers,
                await explain(),
            )

    def end(self) -> None:
        """A message was stored: log that if an outage was logged."""
        if self._warned_ns is not None:
            self._warned_ns = None
            logger.info("Kafka at %s accepts messages again", self._bootstrap_servers)
