"""Which endpoints an agent reports, and how many: a flood of names must not fill memory or tables."""

from __future__ import annotations

import logging

from endpoint_analytics.agents.kubernetes.naming import Naming

logger = logging.getLogger("endpoint_analytics")

MAX_ENDPOINTS = 1_000
"""Most endpoints that one agent reports; any others are ignored."""

MAX_REMEMBERED = 1_000
"""Most warnings remembered, so that each is logged only once."""


class KnownEndpoints:
    """The endpoints of `namespace`, named by `naming`."""

    def __init__(self, namespace: str, naming: Naming) -> None:
        self.namespace = namespace
        self.naming = naming
        self._admitted: set[str] = set()
        self._said: set[str] = set()

    def admit(self, endpoint: str) -> bool:
        """Return whether to report the endpoint: the first MAX_ENDPOINTS are reported while the process lives."""
        if endpoint in self._admitted:
            return True
        if len(self._admitted) >= MAX_ENDPOINTS:
            self.say_once(
                f"there are more than {MAX_ENDPOINTS} endpoints: any others are ignored, such as {endpoint}"
            )
            return False
        self._admitted.add(endpoint)
        return True

    def say_once(self, what: str) -> None:
        """Log a warning, unless it was logged before."""
        if what not in self._said and len(self._said) < MAX_REMEMBERED:
            self._said.add(what)
            logger.warning("%s", what)
