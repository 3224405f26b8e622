"""Which replicas the receiver knows: so many, and so many of one namespace, so that no tenant stops another. Pure."""

from __future__ import annotations

from collections import Counter

from endpoint_analytics.agents.otlp.identity import Identity


class Roster:
    """At most `most` replicas, and at most `most_of_namespace` of each namespace.

    A replica is known from its first request until it is gone; one that Kafka has nothing of yet is known, too.
    """

    def __init__(self, most: int, most_of_namespace: int) -> None:
        self._most = most
        self._most_of_namespace = most_of_namespace
        self._replicas: set[Identity] = set()
        self._by_namespace: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._replicas)

    def refusal(self, replica: Identity) -> str:
        """Return why the replica cannot be known, "" if it can."""
        if replica in self._replicas:
            return ""
        if self._by_namespace[replica.namespace] >= self._most_of_namespace:
            return "too_many_replicas"
        return "too_many_replicas_in_all" if len(self._replicas) >= self._most else ""

    def add(self, replica: Identity) -> None:
        """Know the replica."""
        if replica not in self._replicas:
            self._replicas.add(replica)
            self._by_namespace[replica.namespace] += 1

    def remove(self, replica: Identity) -> None:
        """The replica is gone."""
        if replica in self._replicas:
            self._replicas.remove(replica)
            self._by_namespace[replica.namespace] -= 1
            if not self._by_namespace[replica.namespace]:
                del self._by_namespace[replica.namespace]
