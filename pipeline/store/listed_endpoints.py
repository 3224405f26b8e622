"""Which endpoints stand among the others, in a scrape of many and in service discovery.

One of which nothing was heard for a week (`Presence.listed`) has left: no agent's message, no state of a replica, no
change of its settings. Its own URL, the page and SQL keep it. A week of silence counts up to where the log was read:
while the whole pipeline stands still, nobody leaves.
"""

from __future__ import annotations

from datetime import datetime

from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import Progress
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.scope import Key, Scope

# Without FINAL: a replaced row is older than the one that counts.
LISTED = """
SELECT namespace, endpoint FROM boots WHERE WHOSE AND last_append >= {since:DateTime64(3, 'UTC')}
UNION DISTINCT SELECT namespace, endpoint FROM replica_events WHERE WHOSE AND at >= {since:DateTime64(3, 'UTC')}
UNION DISTINCT SELECT namespace, endpoint FROM endpoint_settings WHERE WHOSE AND at >= {since:DateTime64(3, 'UTC')}
"""


async def read_listed(
    reader: Reader, scope: Scope, progress: Progress, presence: Presence, now: datetime
) -> list[Key]:
    """Return the scope's endpoints that have not left, ordered by namespace and name; raises StoreError."""
    since = progress.newest(now) - presence.listed
    parameters = {**scope.parameters, "since": since.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]}
    return sorted(Key(*row) for row in await reader.read(scope.sql(LISTED), parameters))
