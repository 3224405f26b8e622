"""Sets how long each level is kept: the tables' TTL, changed only where it differs."""

from __future__ import annotations

from endpoint_analytics.pipeline.store.connect import Client
from endpoint_analytics.pipeline.store.rollup_levels import LEVELS, TABLES, TTLS, Retention, parse_ttls

# Table names and TTLs cannot be query parameters; the names are our own and the days a validated number.
_MODIFY = "ALTER TABLE `{table}` {on_cluster} MODIFY TTL window_start + INTERVAL {days} DAY"


def apply_retention(client: Client, retention: Retention, on_cluster: str = "") -> tuple[str, ...]:
    """Set the tables' retention; returns the names of the changed tables."""
    days = parse_ttls(client.query(TTLS, parameters={"tables": TABLES}).result_rows)
    changed = []
    for level in LEVELS:
        for table in level.tables:
            if days.get(table) != retention.days(level):
                client.command(_MODIFY.format(table=table, on_cluster=on_cluster, days=retention.days(level)))
                changed.append(table)
    return tuple(changed)
