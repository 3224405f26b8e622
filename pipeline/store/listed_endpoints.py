"""Which endpoints stand among the others, in a scrape of many and in service discovery.

One of which nothing was heard for a week (`Presence.listed`) has left: no agent's message, no state of a replica, no
change of its settings. Its own URL, the page and SQL keep it. A week of silence counts up to where the log was read:
while the whole pipeline stands still, or, for up to 90 days, a partition of it, nobody leaves who was heard through it.
"""

from __future__ import annotations

from datetime import datetime

from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import Progress
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.scope import Key, Scope

# Without FINAL: a replaced row is older than the one that counts. Hundreds of partitions may be behind, so they are
# looked up by hash, by `transform`, which needs at least one; usually none is, and then nothing is looked up.
_HEARD = """
SELECT namespace, endpoint FROM {table} WHERE WHOSE
    AND (toUnixTimestamp64Milli({at}) >= {{since_ms:Int64}}
        OR {{is_behind:UInt8}} AND toUnixTimestamp64Milli({at}) >= transform(concat({stream}, '/', toString(partition)),
            {{behind:Array(String)}}, {{behind_since_ms:Array(Int64)}}, {{since_ms:Int64}}))
"""
LISTED = "UNION DISTINCT".join(
    _HEARD.format(table=table, at=at, stream=stream)
    for table, at, stream in (
        ("boots", "last_append", "stream"),
        ("replica_events", "at", "'replicas'"),
        ("endpoint_settings", "at", "'replicas'"),
    )
)


async def read_listed(
    reader: Reader, scope: Scope, progress: Progress, presence: Presence, now: datetime
) -> list[Key]:
    """Return the scope's endpoints that have not left, ordered by namespace and name; raises StoreError."""
    newest, behind = progress.newest(now), progress.behind(now, presence)
    parameters = {
        **scope.parameters,
        "since_ms": _since_ms(newest, presence),
        "is_behind": int(bool(behind)),
        "behind": ["", *(f"{stream}/{partition}" for stream, partition in behind)],
        "behind_since_ms": [0, *(_since_ms(read_to, presence) for read_to in behind.values())],
    }
    return sorted(Key(*row) for row in await reader.read(scope.sql(LISTED), parameters))


def _since_ms(read_to: datetime, presence: Presence) -> int:
    return int((read_to - presence.listed).timestamp() * 1000)
