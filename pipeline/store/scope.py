"""Which endpoints a query reads: one, all of a namespace, or all.

A query has WHOSE in its conditions, and the columns namespace and endpoint first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from endpoint_analytics.pipeline.store.reader import Row


class Key(NamedTuple):
    """One endpoint."""

    namespace: str
    endpoint: str


MOST_NAMED = 200
"""A query names at most so many endpoints: more are read as the whole scope."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The endpoints of a namespace, or one of them. What is empty is any.

    `only` names some of them; a query may read a few others, too.
    """

    namespace: str = ""
    endpoint: str = ""
    only: tuple[Key, ...] = ()

    def of(self, keys: Iterable[Key]) -> Scope:
        """Return the part of this scope that has these endpoints, and as few others as possible."""
        found = tuple(sorted(keys))
        if len(found) == 1:
            return Scope(*found[0])
        return replace(self, only=found if len(found) <= MOST_NAMED else ())

    @property
    def condition(self) -> str:
        """Return the SQL condition that stands for WHOSE."""
        parts = ["namespace = {namespace:String}"] if self.namespace else []
        if self.endpoint:
            parts.append("endpoint = {endpoint:String}")
        elif self.only:
            if not self.namespace:
                parts.append("namespace IN {namespaces:Array(String)}")
            parts.append("endpoint IN {endpoints:Array(String)}")
        return " AND ".join(parts) or "true"

    @property
    def parameters(self) -> dict[str, str | list[str]]:
        """Return the parameters of the condition."""
        given: dict[str, str | list[str]] = {
            "namespace": self.namespace,
            "endpoint": self.endpoint,
            "namespaces": sorted({key.namespace for key in self.only}),
            "endpoints": sorted({key.endpoint for key in self.only}),
        }
        return {name: value for name, value in given.items() if f"{{{name}:" in self.condition}

    def sql(self, query: str) -> str:
        """Return the query with the condition in place of each WHOSE."""
        return query.replace("WHOSE", self.condition)


EVERYTHING = Scope()


def by_endpoint(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    """Return the rows of each endpoint without their first two columns, namespace and endpoint."""
    found: defaultdict[Key, list[Row]] = defaultdict(list)
    for namespace, endpoint, *row in rows:
        found[Key(namespace, endpoint)].append(row)
    return found
