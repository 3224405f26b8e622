"""A peer of the live benchmark: ClickHouse's materialized view, fed by a small consumer once a second.

As its users write it: the consumer passes on the JSON as it came, and ClickHouse parses, groups and sketches. The raw
rows are not kept (engine Null), which is the cheapest way. A crash between insert and commit counts that second twice.
"""

from __future__ import annotations

import sys

from tests.benchmarks.peer_consumer import consume

TABLES = (
    """
CREATE TABLE view_requests (
    endpoint LowCardinality(String), replica_id String, at_ms UInt64, status UInt16, ttfb_us UInt64, latency_us UInt64
) ENGINE = Null
""",
    """
CREATE TABLE view_windows (
    endpoint LowCardinality(String), replica_id String, window DateTime, status UInt16,
    requests SimpleAggregateFunction(sum, UInt64), latency_sum_us SimpleAggregateFunction(sum, UInt64),
    latency AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), UInt64),
    ttfb AggregateFunction(quantilesDD(0.01, 0.5, 0.9, 0.95, 0.99), UInt64)
) ENGINE = AggregatingMergeTree PARTITION BY toDate(window) ORDER BY (endpoint, replica_id, window, status)
""",
    """
CREATE MATERIALIZED VIEW view_of_requests TO view_windows AS
SELECT endpoint, replica_id, toDateTime(intDiv(at_ms, 10000) * 10) AS window, status, count() AS requests,
    sum(latency_us) AS latency_sum_us, quantilesDDState(0.01, 0.5, 0.9, 0.95, 0.99)(latency_us) AS latency,
    quantilesDDState(0.01, 0.5, 0.9, 0.95, 0.99)(ttfb_us) AS ttfb
FROM view_requests GROUP BY endpoint, replica_id, window, status
""",
)
STORED = "SELECT replica_id, sum(requests) FROM view_windows GROUP BY replica_id"


def main(brokers: str, topic: str) -> None:
    """Consume until the process is ended."""
    consume(
        brokers,
        topic,
        "view",
        lambda client, values: client.raw_insert(
            "view_requests", insert_block=b"\n".join(values), fmt="JSONEachRow"
        ),
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
