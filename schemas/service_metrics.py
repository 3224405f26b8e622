"""The metrics that the query service exports about itself at /metrics."""

from __future__ import annotations

from endpoint_analytics.schemas.metrics import Family

SERVICE_REQUESTS = Family("query_service_requests", "counter", "HTTP requests answered, by route and status")
SCRAPE_DURATION = Family(
    "query_service_scrape_duration_seconds", "histogram", "Time to answer an open-metrics scrape", "seconds"
)
CLICKHOUSE_QUERIES = Family("query_service_clickhouse_queries", "counter", "Queries sent to ClickHouse")
CLICKHOUSE_ERRORS = Family(
    "query_service_clickhouse_errors", "counter", "Queries that failed or that ClickHouse did not answer"
)
CACHE_LOOKUPS = Family(
    "query_service_cache_lookups",
    "counter",
    "Scrapes by cache result: hit, joined (shared another scrape's query), miss (ran their own query) or ahead (made "
    "shortly before they came)",
)
CACHE_ENTRIES = Family("query_service_cache_entries", "gauge", "Endpoints in the cache")
TOKENS_IN_FORCE = Family("query_service_tokens", "gauge", "Active access tokens in the cache")
PAUSED_PARTITIONS = Family(
    "query_service_paused_partitions",
    "gauge",
    "Partitions that workers have paused because nearly all their messages are unusable, by stream",
)
CLOSED_CONNECTIONS = Family(
    "query_service_closed_connections",
    "counter",
    "Connections closed because of a slow client or to make room for others, by what they were waiting for",
)
NEWEST_DATA = Family(
    "query_service_data_timestamp_seconds",
    "gauge",
    "When the broker received the newest stored message, in Unix time",
    "seconds",
)
