"""A peer of the live benchmark: confluent-kafka and Polars, once a second, into a SummingMergeTree.

As its users write it: take what came in a second, parse it, group it, insert the groups, commit. A crash between insert
and commit counts that second twice, since sums are added to.
"""

from __future__ import annotations

import sys

import polars as pl
from tests.benchmarks.peer_consumer import consume

TABLE = """
CREATE TABLE polars_windows (
    endpoint LowCardinality(String), replica_id String, window DateTime, requests UInt64, latency_sum_us UInt64,
    ttfb_sum_us UInt64, statusMap Nested(code UInt16, count UInt64), latencyMap Nested(bucket UInt16, count UInt64),
    ttfbMap Nested(bucket UInt16, count UInt64)
) ENGINE = SummingMergeTree PARTITION BY toDate(window) ORDER BY (endpoint, replica_id, window)
"""
STORED = "SELECT replica_id, sum(requests) FROM polars_windows GROUP BY replica_id"
SCHEMA = {
    "endpoint": pl.String,
    "replica_id": pl.String,
    "at_ms": pl.Int64,
    "status": pl.Int64,
    "ttfb_us": pl.Int64,
    "latency_us": pl.Int64,
}
KEYS = ("endpoint", "replica_id", "window")
BUCKETS_A_DOUBLING = 64  # a relative error of 0.54 %, as ours


def window_rows(values: list[bytes]) -> pl.DataFrame:
    """Return a row for each replica and window of these requests."""
    requests = pl.read_ndjson(b"\n".join(values), schema=SCHEMA).with_columns(
        status=pl.col("status").cast(pl.UInt16),
        window=(pl.col("at_ms") // 10_000 * 10).cast(pl.UInt32),
        latency=(pl.col("latency_us").log(2) * BUCKETS_A_DOUBLING).ceil().cast(pl.UInt16),
        ttfb=(pl.col("ttfb_us").log(2) * BUCKETS_A_DOUBLING).ceil().cast(pl.UInt16),
    )
    rows = requests.group_by(KEYS).agg(
        requests=pl.len().cast(pl.UInt64),
        latency_sum_us=pl.col("latency_us").sum().cast(pl.UInt64),
        ttfb_sum_us=pl.col("ttfb_us").sum().cast(pl.UInt64),
    )
    for column, name in (
        ("status", "statusMap.code"),
        ("latency", "latencyMap.bucket"),
        ("ttfb", "ttfbMap.bucket"),
    ):
        counted = requests.group_by(*KEYS, column).agg(count=pl.len().cast(pl.UInt64))
        listed = counted.group_by(KEYS).agg(
            pl.col(column).alias(name), pl.col("count").alias(f"{name.split('.')[0]}.count")
        )
        rows = rows.join(listed, on=KEYS)
    return rows


def main(brokers: str, topic: str) -> None:
    """Consume until the process is ended."""
    consume(
        brokers,
        topic,
        "polars",
        lambda client, values: client.insert_arrow("polars_windows", window_rows(values).to_arrow()),
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
