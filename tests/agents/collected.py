"""Collects what an agent reports of outcomes, as a worker reads it: encoded, and decoded again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from tests.support.waiting import eventually

from endpoint_analytics.agents.outcome.batching import OutcomeBatcher
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.schemas.codec import decode_outcomes, encode
from endpoint_analytics.schemas.outcomes import OutcomeBatch, SampledRequest, Slice

PATIENCE_S = 10


class Row(dict[str, Any]):
    """One request's values by the names of their columns, None where unknown; `slice` is the Slice itself."""

    slice: Slice

    def says(self, **expected: object) -> dict[str, object]:
        """Return its values of these names, to be compared with what is expected."""
        return {name: self[name] for name in expected}


class Collected(OutcomeBatcher):
    """Takes the place of an agent's batcher, and keeps its batches."""

    found: list[OutcomeBatch]

    def batches(self, *arguments: Any, **named: Any) -> Iterator[OutcomeBatch]:
        for batch in super().batches(*arguments, **named):
            self.found.append(decode_outcomes(encode(batch)))
            yield batch

    @property
    def all_rows(self) -> list[Row]:
        return [row for batch in self.found for row in rows_of(batch)]

    @property
    def samples(self) -> list[SampledRequest]:
        return [sample for batch in self.found for sample in batch.samples]

    def rows(self, number: int) -> list[Row]:
        """Wait until so many requests have been reported, and return them."""
        rows = eventually(lambda: self.all_rows, lambda r: len(r) >= number, PATIENCE_S, f"{number} rows")
        assert len(rows) == number, rows
        return rows

    def row(self) -> Row:
        return self.rows(1)[0]


def collect(agent: Agent) -> Collected:
    """Collect from now on; before the first request."""
    collected = Collected(agent.config, agent.boot_id)
    collected.found = []
    agent._outcomes = collected
    return collected


def rows_of(batch: OutcomeBatch) -> list[Row]:
    columns = msgspec.structs.asdict(batch.outcomes)
    rows = []
    for at in range(len(batch.outcomes.at_us)):
        row = Row({name: column[at] if column else None for name, column in columns.items()})
        row.slice = row["slice"] = batch.slices[row["slice"]]
        rows.append(row)
    return rows
