"""Whose endpoints an agent tells of, and how many: a flood of names must fill neither memory nor tables."""

from __future__ import annotations

import logging

from endpoint_analytics.agents.kubernetes.naming import Naming

logger = logging.getLogger("endpoint_analytics")

MAX_ENDPOINTS = 1_000
"""Endpoints that one agent tells of: those beyond are left out."""

MAX_REMEMBERED = 1_000
"""Things that were said once, so that they are not said again."""


class Endpoints:
    """Those of our `namespace`, named as `naming` says."""

    def __init__(self, namespace: str, naming: Naming) -> None:
        self.namespace = namespace
        self.naming = naming
        self._admitted: set[str] = set()
        self._said: set[str] = set()

    def admit(self, endpoint: str) -> bool:
        """Return whether the endpoint is told of: the first ones are, as long as the process lives."""
        if endpoint in self._admitted:
            return True
        if len(self._admitted) >= MAX_ENDPOINTS:
            self.say_once(
                f"there are more than {MAX_ENDPOINTS} endpoints: others are left out, as is {endpoint}"
            )
            return False
        self._admitted.add(endpoint)
        return True

    def say_once(self, what: str) -> None:
        """Log a warning, unless it was said before."""
        if what not in self._said and len(self._said) < MAX_REMEMBERED:
            self._said.add(what)
            logger.warning("%s", what)
