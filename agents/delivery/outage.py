"""Reports that Kafka is away: one line a minute for all topics together, and one when it is back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from endpoint_analytics.agents.core.clock import now_ns

logger = logging.getLogger("endpoint_analytics")

WARN_EVERY_NS = 60 * 1_000_000_000


class Outage:
    """What has been said about the Kafka at `bootstrap_servers`. One thread uses it."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._warned_ns: int | None = None

    async def complain(self, explain: Callable[[], Awaitable[str]]) -> None:
        """Log what `explain` finds out, unless that was done lately; errors name hosts and topics, no secrets."""
        at_ns = now_ns()
        if self._warned_ns is None or at_ns - self._warned_ns > WARN_EVERY_NS:
            self._warned_ns = at_ns
            logger.warning(
                "Kafka at %s takes no messages, trying on (the application is not affected): %s",
                self._bootstrap_servers,
                await explain(),
            )

    def end(self) -> None:
        """A message was stored: say so if there was a complaint."""
        if self._warned_ns is not None:
            self._warned_ns = None
            logger.info("Kafka at %s takes messages again", self._bootstrap_servers)
