"""Batches that arrived but are in no figure, and when: too many processes sent under one boot to tell them apart.

After each chunk of the Kafka log the worker stores their number for each boot (`boot_states`). Where it rises from one
chunk to the next, they arrived between the boot's newest message of the previous chunk and that of this one. Those
older than the stored rows arrived between the boot's start and the first stored row.
"""

from __future__ import annotations

from dataclasses import dataclass

from endpoint_analytics.pipeline.store.reader import Reader

MAX_CONFLICTS = 200
"""Limit for one answer; beyond it, the oldest are left out."""

# Few boots have any. A boot's row outlives its states: it is the last of them.
RISES = """
WITH
    whole AS
    (
        SELECT stream, namespace, endpoint, replica_id, boot_id, partition, chunk, first_at, last_append, conflicts
        FROM boots FINAL
        WHERE namespace = {namespace:String} AND endpoint = {endpoint:String} AND conflicts > 0
            AND ({replica:String} = '' OR replica_id = {replica:String})
            AND last_append >= toDateTime64({from:Float64}, 3, 'UTC')
    )
SELECT replica_id, stream, toUnixTimestamp64Milli(before_at), toUnixTimestamp64Milli(last_append), conflicts - known
FROM
(
    SELECT replica_id, stream, last_append, conflicts,
        lagInFrame(conflicts) OVER boot AS known,
        lagInFrame(last_append, 1, toDateTime64(first_at, 3, 'UTC')) OVER boot AS before_at
    FROM
    (
        SELECT replica_id, boot_id, stream, partition, chunk, first_at, last_append, conflicts, 0 AS is_last
        FROM boot_states FINAL
        WHERE (stream, namespace, endpoint, replica_id, boot_id) IN
            (SELECT stream, namespace, endpoint, replica_id, boot_id FROM whole)
        UNION ALL
        SELECT replica_id, boot_id, stream, partition, chunk, first_at, last_append, conflicts, 1 FROM whole
    )
    WINDOW boot AS (PARTITION BY replica_id, boot_id, stream, partition ORDER BY is_last, chunk
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE conflicts > known
    AND last_append >= toDateTime64({from:Float64}, 3, 'UTC') AND before_at < toDateTime64({to:Float64}, 3, 'UTC')
ORDER BY last_append DESC, replica_id DESC, stream DESC
LIMIT {limit:UInt32}
"""


@dataclass(frozen=True, slots=True)
class BatchConflict:
    """Batches of one stream that a replica's agents sent between two moments and that are not counted."""

    replica: str
    stream: str
    from_s: float
    to_s: float
    batches: int


async def read_conflicts(
    reader: Reader, namespace: str, endpoint: str, replica: str, from_s: float, to_s: float
) -> list[BatchConflict]:
    """Return the conflicts whose time overlaps the range, in order of time; raises StoreError."""
    of = {"namespace": namespace, "endpoint": endpoint, "replica": replica, "from": from_s, "to": to_s}
    rows = await reader.read(RISES, of | {"limit": MAX_CONFLICTS})
    return [
        BatchConflict(replica, stream, before_ms / 1e3, newest_ms / 1e3, int(batches))
        for replica, stream, before_ms, newest_ms, batches in reversed(rows)
    ]
