"""The levels of stored windows, how long each is kept, and how far each is rolled up. Pure except for the settings.

Retention is a TTL of the tables: `endpoint-analytics migrate` sets it, and readers take it from the tables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from endpoint_analytics.schemas.configuration.settings import (
    ConfigurationError,
    parse_number,
    read_text,
    variable_of,
)

DAY_S = 86_400
_DAYS = re.compile(r"toIntervalDay\((\d+)\)")


class RetentionError(ConfigurationError):
    """A retention setting is invalid."""


@dataclass(frozen=True, slots=True)
class RollupLevel:
    """Windows of `seconds`, in four tables. `least_days`: late data needs the finer rows that it is added to."""

    name: str
    seconds: int
    requests: str
    hardware: str
    engine: str
    outcomes: str
    default_days: int
    least_days: int

    @property
    def setting(self) -> str:
        """Return the name of its retention setting."""
        return f"retention_{self.name.lower()}_days"

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the level's tables."""
        return self.requests, self.hardware, self.engine, self.outcomes


# Agents may be 48 h late, and a window is recomputed from all its rows: they must be kept for a day more.
TEN_SECONDS = RollupLevel(
    "10S", 10, "request_windows", "hardware_windows", "engine_windows", "outcome_windows", 7, 4
)
MINUTE = RollupLevel(
    "1MIN", 60, "request_minutes", "hardware_minutes", "engine_minutes", "outcome_minutes", 30, 4
)
HOUR = RollupLevel("1H", 3600, "request_hours", "hardware_hours", "engine_hours", "outcome_hours", 400, 4)
LEVELS = (TEN_SECONDS, MINUTE, HOUR)


@dataclass(frozen=True, slots=True)
class Retention:
    """Days for which each level is kept."""

    ten_seconds: int = TEN_SECONDS.default_days
    minute: int = MINUTE.default_days
    hour: int = HOUR.default_days

    def __post_init__(self) -> None:
        if not self.ten_seconds <= self.minute <= self.hour:
            raise RetentionError(
                f"retention is {self.ten_seconds}, {self.minute} and {self.hour} days for 10 s, 1 min and "
                "1 h: a coarser level must be kept at least as long as a finer one"
            )
        for level in LEVELS:
            if not level.least_days <= self.days(level) <= 10_000:
                raise RetentionError(
                    f"{level.setting} is {self.days(level)}: expected {level.least_days} to 10000 days; "
                    f"set {variable_of(level.setting)}"
                )

    def days(self, level: RollupLevel) -> int:
        """Return the days of a level."""
        return (self.ten_seconds, self.minute, self.hour)[LEVELS.index(level)]

    def kept_from(self, level: RollupLevel, now_s: float) -> int:
        """Return the time from which a level's windows are available."""
        return int(now_s) - self.days(level) * DAY_S


def environment_retention(environment: Mapping[str, str] | None = None) -> Retention:
    """Return the retention from ENDPOINT_ANALYTICS_RETENTION_*_DAYS variables, with defaults for the rest."""
    given = os.environ if environment is None else environment
    days = []
    for level in LEVELS:
        text = read_text(given, level.setting) or str(level.default_days)
        days.append(int(parse_number(level.setting, text, int)))
    return Retention(*days)


TTLS = """
SELECT name, engine_full FROM system.tables
WHERE database IN (currentDatabase(), currentDatabase() || '_shard') AND name IN {tables:Array(String)}
"""
TABLES = [table for level in LEVELS for table in level.tables]


def parse_ttls(rows: Sequence[Sequence[Any]]) -> dict[str, int]:
    """Return the retention of each table in days, from the rows of TTLS."""
    found = {name: _DAYS.search(engine) for name, engine in rows}
    return {name: int(match[1]) for name, match in found.items() if match}


def stored_retention(days: Mapping[str, int]) -> Retention:
    """Return the tables' retention; for each level, that of its table with the shortest one."""
    shortest = [min(days.get(table, level.default_days) for table in level.tables) for level in LEVELS]
    return Retention(*shortest)


@dataclass(frozen=True, slots=True)
class RollupProgress:
    """How far each level is rolled up: windows that end by `*_to`, with the requests stored before `*_looked_at_ms`."""

    retention: Retention
    minute_to: int
    hour_to: int
    minutes_looked_at_ms: int = 0
    hours_looked_at_ms: int = 0
