"""A pipeline, as the live benchmark runs it: what it reads, how it is started, and what it has stored."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.results import OURS

BATCHES, JSON = "requests", "json"
"""The topics' suffixes: our batches of columns, and a JSON message for each request."""

_OURS = "SELECT replica_id, sum(latency_count) FROM request_windows FINAL GROUP BY replica_id"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A process that reads a topic and stores windows.

    `words(brokers, topic, directory)` is its command; it prints a line that ends in `ready` once it reads. `stored`
    asks for the requests stored of each replica.
    """

    name: str
    form: str
    words: Callable[[str, str, Path], tuple[str, ...]]
    stored: str
    tables: tuple[str, ...] = ()


def _ours(_brokers: str, _topic: str, _directory: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "endpoint_analytics.infra.command", "worker", "--instance-id", "bench-1")


OUR_PIPELINE = Pipeline(OURS, BATCHES, _ours, _OURS)
