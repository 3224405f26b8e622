"""What benchmarks report, and the table that `make bench` ends with. Only figures of the same run; goals stand here.

A benchmark's `main` returns its figures. Those of the same name are one line of the table: ours, and its peers'.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OURS = "endpoint-analytics"

FRESH_10K = "live, 10,000 replicas: late, p99"
LIVE_1K = "live, 1,000 replicas: worker and ClickHouse"
LIVE_200 = "live, 200 replicas: worker and ClickHouse"
BACKLOG = "a backlog of 500 replicas: worker and ClickHouse"
LARGE_MESSAGES = "a backlog of large messages: the worker"
STREAMED = "middleware, an answer of 200 pieces: adds"
PLAIN = "middleware, an answer of one piece: adds"
WIRE_20 = "a request in Kafka, 20 a message"
WIRE_3 = "a request in Kafka, 3 a message"
WIRE_IDLE = "an idle replica in Kafka"
STORED = "stored at the finest level"
MONTH = "any graph of 30 days, p99"
PAGE = "the whole page, last hour, p99"
MEMORY_10K = "the worker's memory, 10,000 replicas"

CPU = "CPU-s a million requests"


@dataclass(frozen=True, slots=True)
class Goal:
    """What we want of a figure: at most `limit`, or at least."""

    name: str
    limit: float
    unit: str
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Return whether a figure of ours is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit


# In the order of the table. All else that is reported follows.
GOALS = (
    Goal(FRESH_10K, 2.0, "s"),
    Goal(LIVE_1K, 2.2, CPU),
    Goal(LIVE_200, 10.0, CPU),
    Goal(BACKLOG, 1.4, CPU),
    Goal(LARGE_MESSAGES, 8.0, "million events/s a core", at_least=True),
    Goal(STREAMED, 30.0, "us"),
    Goal(PLAIN, 4.0, "us"),
    Goal(WIRE_20, 20.0, "bytes"),
    Goal(WIRE_3, 60.0, "bytes"),
    Goal(WIRE_IDLE, 100.0, "bytes/s"),
    Goal(STORED, 1.5, "MB a replica and day"),
    Goal(MONTH, 300.0, "ms"),
    Goal(PAGE, 200.0, "ms"),
    Goal(MEMORY_10K, 300.0, "MB"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value. `shape` says of what: how many replicas, messages, requests; `who` is us or a peer."""

    name: str
    value: float
    unit: str
    shape: str
    who: str = OURS


def render_table(figures: Iterable[Figure], goals: Iterable[Goal] = GOALS) -> str:
    """Return the table of these figures (the last of a name and a `who` counts), and which goals have none.

    Raises ValueError if a figure's unit is not its goal's.
    """
    by_name: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        by_name.setdefault(figure.name, {})[figure.who] = figure
    wanted = {goal.name: goal for goal in goals}
    names = [name for name in wanted if name in by_name] + [name for name in by_name if name not in wanted]
    rows: list[tuple[str, ...]] = [("what", "now", "goal", "", "peers", "shape")]
    rows += [_row(by_name[name], wanted.get(name)) for name in names]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    missing = [name for name in wanted if name not in by_name]
    if missing:
        lines.append(f"not measured in this run: {'; '.join(missing)}")
    return "\n".join(lines)


def _row(found: dict[str, Figure], goal: Goal | None) -> tuple[str, ...]:
    any_of_them = next(iter(found.values()))
    units = {figure.unit for figure in found.values()} | ({goal.unit} if goal else set())
    if len(units) > 1:
        raise ValueError(f"{any_of_them.name}: figures in different units: {', '.join(sorted(units))}")
    ours = found.get(OURS)
    verdict = "" if ours is None or goal is None else "met" if goal.is_met(ours.value) else "missed"
    limit = f"{'>=' if goal.at_least else '<='} {_number(goal.limit)}" if goal else ""
    peers = "; ".join(
        f"{who} {_number(figure.value)}"
        + (f" ({figure.shape})" if ours and figure.shape != ours.shape else "")
        for who, figure in found.items()
        if who != OURS
    )
    now = f"{_number(ours.value)} {ours.unit}" if ours else any_of_them.unit
    return (any_of_them.name, now, limit, verdict, peers, (ours or any_of_them).shape)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
