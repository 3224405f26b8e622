"""Parses and checks the parameters of a request. Pure; nothing is looked up here.

What depends on the time or on retention, such as a range that is too long, is refused by `figures` with `series_plan`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from endpoint_analytics.pipeline.serve.api.models import GROUPS, PARTS, Group, Part
from endpoint_analytics.pipeline.serve.api.openapi_parameters import (
    DEFAULT_POINTS,
    ENGINE_METRIC,
    HARDWARE,
    MAX_POINTS,
    MAX_STEP_S,
)
from endpoint_analytics.pipeline.serve.api.parse_times import MomentError, parse_moment
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name

_Name = TypeVar("_Name", bound=str)
METRICS = HARDWARE
_ENGINE_METRIC = re.compile(ENGINE_METRIC)
_MAX_METRICS = 128

_MOMENTS = "write ISO 8601, Unix seconds, or now, now-15m, now-6h, now-30d"
RANGE_PARAMETERS = ("from", "to", "step", "points", "replica")
SERIES_PARAMETERS = (*RANGE_PARAMETERS, "series", "include", "by", "details", "metrics", "since")


class QueryError(Exception):
    """A request that cannot be answered: what is wrong, where, and how to fix it."""

    def __init__(self, what: str, where: str, hint: str, status: int = 400) -> None:
        super().__init__(what)
        self.what, self.where, self.hint, self.status = what, where, hint, status


@dataclass(frozen=True, slots=True)
class Query:
    """A query for one endpoint. Moments stay as text, because `now` moves; so a query can be a cache key."""

    namespace: str
    endpoint: str
    from_text: str = "now-15m"
    to_text: str = "now"
    step_s: int | None = None
    points: int = DEFAULT_POINTS
    replica: str = ""
    groups: tuple[Group, ...] = ()
    parts: tuple[Part, ...] = ()
    by_status: bool = False
    details: bool = False
    metrics: tuple[str, ...] = METRICS
    engine_metrics: tuple[str, ...] | None = None
    """None: all of them, including those known only to agents."""
    since_text: str = ""

    def moments(self, now_s: float) -> tuple[float, float, float | None]:
        """Return from, to and since in Unix seconds."""
        since_s = _moment("since", self.since_text, now_s) if self.since_text else None
        return _moment("from", self.from_text, now_s), _moment("to", self.to_text, now_s), since_s


def parse_query(
    namespace: str, endpoint: str, items: Iterable[tuple[str, str]], part: Part | None = None
) -> Query:
    """Return the query of a query string; `part` is set for a path that answers only this part.

    Raises QueryError, including for a parameter that is unknown or given twice.
    """
    allowed = SERIES_PARAMETERS if part is None else RANGE_PARAMETERS
    given = parse_parameters(items, allowed)
    metrics, engine_metrics = _metrics(given.get("metrics", ""))
    query = Query(
        namespace=namespace,
        endpoint=endpoint,
        from_text=given.get("from", "now-15m"),
        to_text=given.get("to", "now"),
        step_s=_number(given, "step", 1, MAX_STEP_S) if "step" in given else None,
        points=_number(given, "points", 1, MAX_POINTS) if "points" in given else DEFAULT_POINTS,
        replica=_replica(given.get("replica", "")),
        groups=()
        if part
        else tuple(_list("series", given.get("series", "requests,pending,latency"), GROUPS)),
        parts=(part,) if part else tuple(_list("include", given.get("include", ""), PARTS)),
        by_status=_one_of("by", given.get("by", "class"), ("class", "status")) == "status",
        details=_one_of("details", given.get("details", "false"), ("true", "false")) == "true",
        metrics=metrics,
        engine_metrics=engine_metrics,
        since_text=given.get("since", ""),
    )
    query.moments(0x7FFFFFFF)  # an invalid moment is invalid at any time
    return query


def parse_parameters(items: Iterable[tuple[str, str]], allowed: Sequence[str]) -> dict[str, str]:
    """Return the parameters by name; raises QueryError for one that is unknown or given twice."""
    given: dict[str, str] = {}
    for name, value in items:
        where = f"query parameter {name[:40]}"
        if name not in allowed:
            hint = f"this path accepts {', '.join(allowed)}" if allowed else "this path accepts no parameters"
            raise QueryError(f"there is no parameter {name[:40]!r}", where, hint)
        if name in given:
            raise QueryError(f"{name} is given twice", where, "give it once")
        given[name] = value
    return given


def _moment(name: str, text: str, now_s: float) -> float:
    try:
        return parse_moment(text, now_s)
    except MomentError as error:
        raise QueryError(f"{name}: {error}", f"query parameter {name}", _MOMENTS) from error


def _number(given: dict[str, str], name: str, least: int, most: int) -> int:
    text = given[name]
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not least <= int(text) <= most:
        raise QueryError(
            f"{name} is {text[:40]!r}", f"query parameter {name}", f"give a whole number, {least} to {most}"
        )
    return int(text)


def _list(name: str, text: str, allowed: Sequence[_Name]) -> list[_Name]:
    chosen = text.split(",") if text else []
    for item in chosen:
        _one_of(name, item, allowed)
    return [item for item in allowed if item in chosen]


def _metrics(text: str) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Return the hardware metrics and the serving engine metrics."""
    if not text:
        return METRICS, None
    chosen = set(text.split(","))
    engine = tuple(sorted(item for item in chosen if _ENGINE_METRIC.fullmatch(item)))
    if len(engine) > _MAX_METRICS:
        raise QueryError(
            f"metrics lists {len(engine)} engine metrics",
            "query parameter metrics",
            f"list at most {_MAX_METRICS}",
        )
    hardware = chosen - set(engine)
    for item in hardware:
        _one_of("metrics", item, METRICS)
    return tuple(item for item in METRICS if item in hardware), engine


def _one_of(name: str, text: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise QueryError(
            f"{name} contains {text[:40]!r}", f"query parameter {name}", f"use {', '.join(allowed)}"
        )
    return text


def _replica(text: str) -> str:
    if not text:
        return ""
    try:
        return check_name("replica", text)
    except InvalidMessageError as error:
        raise QueryError(
            error.detail, "query parameter replica", "give one replica's id, or omit it"
        ) from error
