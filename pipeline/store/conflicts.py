"""Batches that came and are in no figure, and when: of more processes under one boot than are told apart.

After each chunk of the log the worker keeps how many there were of a boot (`boot_states`); where they rise from one
chunk to the next, they came between the boot's newest message of the chunk before and that of this one. What is older
than those rows came in the boot's life until the first that is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from endpoint_analytics.pipeline.store.endpoint_metrics import Reader

MAX_CONFLICTS = 200
"""Of one answer; beyond them the oldest are left out."""

# Boots with any are few, and most endpoints have none. A boot's row outlives its states: it is the last of them.
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
class Conflict:
    """Batches of one stream that a replica's agents sent at some time between two moments, and that are not counted."""

    replica: str
    stream: str
    from_s: float
    to_s: float
    batches: int


async def read_conflicts(
    reader: Reader, namespace: str, endpoint: str, replica: str, from_s: float, to_s: float
) -> list[Conflict]:
    """Return what came in the range, or in a time that touches it, in order of time; raises StoreError."""
    of = {"namespace": namespace, "endpoint": endpoint, "replica": replica, "from": from_s, "to": to_s}
    rows = await reader.read(RISES, of | {"limit": MAX_CONFLICTS})
    return [
        Conflict(replica, stream, before_ms / 1e3, newest_ms / 1e3, int(batches))
        for replica, stream, before_ms, newest_ms, batches in reversed(rows)
    ]
