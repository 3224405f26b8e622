"""Outcomes on a real ClickHouse: what the fold makes is stored as it is, and rolled up to its sums."""

import asyncio
import time
from collections import Counter

import pytest
from tests.pipeline.core.outcome_batches import START_US, expected_rows, outcome_batches
from tests.pipeline.serve.api.executor import ClientExecutor

from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.core.outcomes_fold import ADDED, GREATEST, SKETCHES, OutcomeWindows
from endpoint_analytics.pipeline.core.rows import Chunk
from endpoint_analytics.pipeline.store.rollup import roll_up
from endpoint_analytics.pipeline.store.writer import encode_rows
from endpoint_analytics.schemas.outcomes import Slice

NOW_US = (int(time.time()) - 5 * 3600) // 3600 * 3600 * 1_000_000
CHUNK = Chunk("outcomes", 3, Record(100, NOW_US // 1000, None))
SLICE = "route, model, caller, streamed, input_upto"


@pytest.fixture
def batches():
    """Forty batches of two boots of one replica, spread over ten minutes."""
    import random

    from hypothesis import HealthCheck, Phase, given, seed, settings

    found = []

    @seed(5)
    @settings(
        max_examples=40, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck)
    )
    @given(outcome_batches())
    def collect(batch):
        found.append(batch)

    collect()
    chance = random.Random(1)
    moved = []
    for number, batch in enumerate(found):
        start_us = NOW_US + chance.randrange(0, 600) * 1_000_000
        length_us = batch.end_us - batch.start_us
        moved.append(
            type(batch)(
                **{name: getattr(batch, name) for name in batch.__struct_fields__}
                | {"start_us": start_us, "end_us": start_us + length_us, "boot_id": f"b{number % 2}"}
            )
        )
    return moved


def store(client, batches):
    windows = OutcomeWindows()
    windows.fold(
        [
            (BootKey(b.namespace, b.endpoint, b.replica_id, b.boot_id), b, 100 + n)
            for n, b in enumerate(batches)
        ]
    )
    rows = [windows.take_block(CHUNK), *windows.take_samples(CHUNK)]
    for insert in encode_rows(row for row in rows if row is not None):
        client.raw_insert(insert.table, insert_block=insert.data, fmt=insert.format)


def stored(client, table, seconds, who="replica_id"):
    """Return the rows of a table by (who, window, slice), as the reference has them."""
    result = client.query(f"SELECT {who} AS who, toUnixTimestamp(window_start) AS at, * FROM {table} FINAL")
    found = {}
    for values in result.named_results():
        of = Slice(
            values["route"], values["model"], values["caller"], bool(values["streamed"]), values["input_upto"]
        )
        found[values["who"], values["at"] // seconds, of] = values
    return found


def check(rows, expected):
    assert set(rows) == set(expected)
    for key, row in rows.items():
        for name in (*ADDED, *GREATEST[1:]):
            assert row[name] == expected[key][name], (key, name)
        for sketch in ("status", *SKETCHES):
            codes = row["status_codes" if sketch == "status" else f"{sketch}_buckets"]
            counts = Counter(dict(zip(codes, row[f"{sketch}_counts"], strict=True)))
            assert counts == expected[key].get(("sketch", sketch), Counter()), (key, sketch)


def rolled(expected, seconds, names):
    """Return the reference's rows by name, longer window and slice; each is added to each of the names."""
    found = {}
    for (_, window, of), row in expected.items():
        for name in names:
            into = found.setdefault((name, window * 10 // seconds, of), Counter())
            for column, value in row.items():
                if isinstance(column, tuple):
                    into[column] = into.get(column, 0) or Counter()
                    into[column] = into[column] + value
                elif column.endswith("_max_us"):
                    into[column] = max(into[column], value)
                else:
                    into[column] += value
    return found


def test_rows_are_stored_as_folded_and_rolled_up_to_their_sums(client, batches):
    store(client, batches)
    expected = expected_rows(batches)
    check(stored(client, "outcome_windows", 10, "boot_id"), expected)
    for _ in range(2):  # the second time changes nothing
        asyncio.run(roll_up(ClientExecutor(client)))
        check(stored(client, "outcome_minutes", 60), rolled(expected, 60, ("", "r1")))
        check(stored(client, "outcome_hours", 3600), rolled(expected, 3600, ("", "r1")))


def test_the_reference_has_something_to_say(batches):
    rows = expected_rows(batches)
    assert len(rows) > 30
    assert START_US
    assert sum(row["tpot_count"] for row in rows.values()) > 3
