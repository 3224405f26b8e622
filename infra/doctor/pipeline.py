"""Checks of what flows through: whether workers read, what they reject or pause, and whether the rollup keeps up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from endpoint_analytics.infra.doctor.finding import Finding, failure, ok, warning
from endpoint_analytics.pipeline.store.database import Database
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.paused_partitions import read_still_paused
from endpoint_analytics.pipeline.store.progress import LONGEST_PAUSE
from endpoint_analytics.pipeline.store.reader import Row

BEHIND_S = 10
"""As for the page: older data does not describe the present."""
ROLLUP_BEHIND_S = {"request_minutes": 600, "request_hours": 7_800}

PROGRESS = """
SELECT stream, partition, toInt64(toUnixTimestamp(now())) - toUnixTimestamp(max(read_to)),
    argMax(end_offset - least(next_offset, end_offset), read_to)
FROM partition_progress GROUP BY stream, partition ORDER BY stream, partition
"""
REJECTED = """
SELECT reason, count(), any(detail) FROM rejected
WHERE append_time >= now() - INTERVAL 1 HOUR GROUP BY reason ORDER BY count() DESC
"""
ROLLUPS = """
SELECT target, toInt64(toUnixTimestamp(now())) - toUnixTimestamp(max(rolled_to)) FROM rollups
WHERE target IN ('request_minutes', 'request_hours') GROUP BY target
"""
LOSSES = """
SELECT count(), sum(arraySum(dropped_counts)), sum(missing)
FROM boots FINAL WHERE last_append >= now() - INTERVAL 1 HOUR
"""


async def check_pipeline(database: Database) -> AsyncIterator[Finding]:
    """Yield what is found in the tables."""
    try:
        yield check_progress(await database.read(PROGRESS, {}))
        for paused in await read_still_paused(database):
            yield failure("pipeline", str(paused), f"mend the sender, then: {paused.command}")
        for reason, count, detail in await database.read(REJECTED, {}):
            text = f"{count} messages of the last hour were rejected as {reason}, such as: {detail}"
            yield warning("pipeline", text, "mend their sender; the messages are in the topic `rejected`")
        for finding in check_rollups(await database.read(ROLLUPS, {})):
            yield finding
        ((reported, dropped, missing),) = await database.read(LOSSES, {})
        if not reported:
            yield ok("pipeline", "no agent has reported in the last hour")
        elif dropped or missing:
            text = f"agents of the last hour lost {dropped} requests and {missing} batches since they began"
            yield warning("pipeline", text, "see docs/agent.md, and the table boots, for the reasons")
        else:
            yield ok("pipeline", "no agent that reported in the last hour has lost anything")
    except StoreError as error:
        yield failure("pipeline", str(error))


def check_progress(rows: Sequence[Row]) -> Finding:
    """Return whether all partitions are read, from the rows of PROGRESS.

    One that nobody read for LONGEST_PAUSE, while others were, is gone: nobody could mend it.
    """
    if not rows:
        return failure(
            "pipeline", "no worker has ever read a partition", "start one: endpoint-analytics worker"
        )
    oldest_s = max(0, min(row[2] for row in rows)) + LONGEST_PAUSE.total_seconds()
    rows = [row for row in rows if row[2] <= oldest_s]
    late = [(stream, partition, age_s, left) for stream, partition, age_s, left in rows if age_s > BEHIND_S]
    if not late:
        return ok(
            "pipeline", f"{len(rows)} partitions are read, the slowest {max(row[2] for row in rows)} s behind"
        )
    stream, partition, age_s, left = max(late, key=lambda row: row[2])
    text = f"{len(late)} of {len(rows)} partitions are behind: {stream}/{partition} by {age_s} s, {left} messages"
    return failure(
        "pipeline", text, "start workers, or more of them; their log and /ready say why one does not read"
    )


def check_rollups(rows: Sequence[Row]) -> Sequence[Finding]:
    """Return whether minutes and hours are rolled up, from the rows of ROLLUPS."""
    behind_s: dict[str, int] = dict(rows)  # type: ignore[arg-type]  # pairs
    late = [
        f"{target} {'was never rolled up' if target not in behind_s else f'by {behind_s[target] // 60} min'}"
        for target, most_s in ROLLUP_BEHIND_S.items()
        if behind_s.get(target, most_s + 1) > most_s
    ]
    if late:
        fix = "start a query service (endpoint-analytics serve), which does it; its log says what fails"
        return [warning("pipeline", f"the rollup is behind: {', '.join(late)}", fix)]
    return [ok("pipeline", "minutes and hours are rolled up")]
