"""What a scrape asks for: which families, endpoints and replicas. Pure.

The parameter of families is named as in Prometheus's client libraries, `name[]`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name

_FAMILIES, _ENDPOINTS, _REPLICAS = "name[]", "endpoint_name[]", "replica_id[]"
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,254}", re.ASCII)
_SUFFIXES = ("_total", "_bucket", "_count", "_sum")
MAX_VALUES = 200
"""Of each parameter, repeated ones included."""


class SelectionError(ValueError):
    """A parameter of a scrape cannot be used; the text names it and says what is expected."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Families, endpoints and replicas by name; None for all.

    A family may also be named by one of its samples, such as http_requests_total. No replica at all leaves the families
    of whole endpoints.
    """

    families: frozenset[str] | None = None
    endpoints: frozenset[str] | None = None
    replicas: frozenset[str] | None = None

    def has_family(self, name: str) -> bool:
        """Whether the family is asked for."""
        return (
            self.families is None
            or name in self.families
            or any(f"{name}{suffix}" in self.families for suffix in _SUFFIXES)
        )

    def has_any_family(self, names: Iterable[str]) -> bool:
        """Whether one of the families is asked for."""
        return any(map(self.has_family, names))

    def is_within(self, names: Collection[str]) -> bool:
        """Whether no other family is asked for than some of these."""
        known = {*names, *(f"{name}{suffix}" for name in names for suffix in _SUFFIXES)}
        return self.families is not None and self.families <= known

    def has_endpoint(self, name: str) -> bool:
        """Whether the endpoint is asked for."""
        return self.endpoints is None or name in self.endpoints

    def has_replica(self, replica_id: str) -> bool:
        """Whether the replica is asked for."""
        return self.replicas is None or replica_id in self.replicas


ALL = Selection()


def parse_selection(parameters: Iterable[tuple[str, str]], *, of_one: bool) -> Selection:
    """Return what the query parameters ask for, `of_one` endpoint or of several; raises SelectionError."""
    allowed = (_FAMILIES, _REPLICAS) if of_one else (_FAMILIES, _ENDPOINTS, _REPLICAS)
    found: dict[str, list[str]] = {}
    for name, value in parameters:
        if name not in allowed:
            raise SelectionError(
                f"unknown parameter {name[:64]!r}: expected {', '.join(allowed[:-1])} or {allowed[-1]}, "
                "each any number of times"
            )
        values = found.setdefault(name, [])
        values.append(value)
        if len(values) > MAX_VALUES:
            raise SelectionError(f"more than {MAX_VALUES} values of {name}: leave it out to get all")
    for value in found.get(_FAMILIES, ()):
        if not _NAME.fullmatch(value):
            raise SelectionError(f"{_FAMILIES}={value[:64]!r} is not the name of a metric")
    for value in found.get(_ENDPOINTS, ()):
        try:
            check_name("endpoint", value)
        except InvalidMessageError as error:
            raise SelectionError(f"{_ENDPOINTS}={value[:64]!r}: {error.detail}") from error
    families, endpoints, replicas = (
        frozenset(found[name]) if name in found else None for name in (_FAMILIES, _ENDPOINTS, _REPLICAS)
    )
    # An empty replica_id[] names no replica; it is there to say that none is wanted.
    return Selection(families, endpoints, None if replicas is None else replicas - {""})
