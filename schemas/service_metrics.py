"""The names of what the query service tells of itself at /metrics."""

from __future__ import annotations

from endpoint_analytics.schemas.metrics import Family

SERVICE_REQUESTS = Family("query_service_requests", "counter", "HTTP requests answered, by route and status")
SCRAPE_DURATION = Family(
    "query_service_scrape_duration_seconds", "histogram", "Time to answer an open-metrics scrape", "seconds"
)
CLICKHOUSE_QUERIES = Family("query_service_clickhouse_queries", "counter", "Queries sent to ClickHouse")
CLICKHOUSE_ERRORS = Family(
    "query_service_clickhouse_errors", "counter", "Queries that ClickHouse did not answer"
)
CACHE_LOOKUPS = Family(
    "query_service_cache_lookups",
    "counter",
    "Scrapes by how their numbers were had: hit, joined (another scrape's query) or miss (their own)",
)
CACHE_ENTRIES = Family("query_service_cache_entries", "gauge", "Endpoints whose numbers are held")
TOKENS_IN_FORCE = Family("query_service_tokens", "gauge", "Access tokens that are held")
PAUSED_PARTITIONS = Family(
    "query_service_paused_partitions",
    "gauge",
    "Partitions that no worker reads further, as nearly all their messages are unusable, by stream",
)
CLOSED_CONNECTIONS = Family(
    "query_service_closed_connections",
    "counter",
    "Connections that were closed as their clients kept them waiting, or to make room, by what was waited for",
)
NEWEST_DATA = Family(
    "query_service_data_timestamp_seconds",
    "gauge",
    "When the broker took the newest message that is stored, in Unix time",
    "seconds",
)
