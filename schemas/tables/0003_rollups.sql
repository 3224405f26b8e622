-- Coarser levels of the 10 s windows. The roller writes absolute rows: everything that the finer level held of a window
-- when it was read. The next reading replaces them. Rows with an empty replica_id describe the whole endpoint.

-- When ClickHouse inserted the row. A row that a replay writes again looks new, so its window is rolled up again. That
-- is harmless, since rows replace each other. MATERIALIZED, so that no insert has to name it.
ALTER TABLE request_windows {on_cluster} ADD COLUMN IF NOT EXISTS
    stored_at DateTime64(3, 'UTC') MATERIALIZED now64(3) COMMENT 'When ClickHouse inserted the row';

ALTER TABLE hardware_windows {on_cluster} ADD COLUMN IF NOT EXISTS
    stored_at DateTime64(3, 'UTC') MATERIALIZED now64(3) COMMENT 'When ClickHouse inserted the row';

ALTER TABLE request_windows {on_cluster} MATERIALIZE COLUMN stored_at;

ALTER TABLE hardware_windows {on_cluster} MATERIALIZE COLUMN stored_at;

ALTER TABLE request_windows {on_cluster} ADD INDEX IF NOT EXISTS stored_at_range stored_at TYPE minmax GRANULARITY 1;

ALTER TABLE hardware_windows {on_cluster} ADD INDEX IF NOT EXISTS stored_at_range stored_at TYPE minmax GRANULARITY 1;

CREATE TABLE IF NOT EXISTS request_minutes {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica; empty for the whole endpoint, unassigned for requests held while no replica runs',
    window_start DateTime('UTC') COMMENT 'Start of the window of event time',
    version UInt64 COMMENT 'When the row was computed, in microseconds since 1970; the newest row counts',
    stored_at DateTime64(3, 'UTC') MATERIALIZED now64(3) COMMENT 'When ClickHouse inserted the row',
    arrived UInt64 COMMENT 'Requests that arrived in the window',
    finished UInt64 COMMENT 'Requests whose last byte was sent in the window',
    aborted_pending UInt64 COMMENT 'Requests that ended in the window before a status was sent',
    aborted_streaming UInt64 COMMENT 'Requests that ended in the window after a status and before the last byte',
    status_codes Array(UInt16) COMMENT 'HTTP statuses sent in the window, 1xx included; sumMap with status_counts',
    status_counts Array(UInt64) COMMENT 'How often each of status_codes was sent',
    covered_us UInt64 COMMENT 'Part of the window that was reported; for the whole endpoint, by any replica',
    pending_request_us UInt64 COMMENT 'Sum over pending requests of their time in the window; mean: / covered_us',
    pending_max UInt64 COMMENT 'Maximum over 10 s windows of the most requests pending at once, summed over processes',
    pending_last UInt64 COMMENT 'Requests pending at the end of what was reported',
    streaming_request_us UInt64 COMMENT 'Sum over streaming requests of their time in the window',
    streaming_max UInt64 COMMENT 'Maximum over 10 s windows of the most requests streaming at once, summed over processes',
    streaming_last UInt64 COMMENT 'Requests streaming at the end of what was reported',
    active_max UInt64 COMMENT 'Maximum over 10 s windows of the most requests pending or streaming at once, summed over processes',
    oldest_pending_us UInt64 COMMENT 'Maximum age of a pending request reported in the window',
    latency_count UInt64 COMMENT 'Requests in the latency sketch',
    latency_sum_us UInt64 COMMENT 'Sum of arrival to last byte, in microseconds',
    latency_max_us UInt64 COMMENT 'Longest arrival to last byte, in microseconds',
    latency_buckets Array(UInt16) COMMENT 'Bucket numbers of the latency sketch; sumMap with latency_counts' CODEC(Delta(2), ZSTD(1)),
    latency_counts Array(UInt64) COMMENT 'Requests in each of latency_buckets' CODEC(T64, ZSTD(1)),
    ttfb_count UInt64 COMMENT 'Requests in the time-to-first-byte sketch',
    ttfb_sum_us UInt64 COMMENT 'Sum of arrival to status, in microseconds',
    ttfb_max_us UInt64 COMMENT 'Longest arrival to status, in microseconds',
    ttfb_buckets Array(UInt16) COMMENT 'Bucket numbers of the time-to-first-byte sketch; sumMap with ttfb_counts' CODEC(Delta(2), ZSTD(1)),
    ttfb_counts Array(UInt64) COMMENT 'Requests in each of ttfb_buckets' CODEC(T64, ZSTD(1)),
    INDEX stored_at_range stored_at TYPE minmax GRANULARITY 1
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toDate(window_start)
ORDER BY (namespace, endpoint, replica_id, window_start)
TTL window_start + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Requests by minute and replica, and of the whole endpoint';

CREATE TABLE IF NOT EXISTS request_hours {on_cluster} AS request_minutes
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_start)
ORDER BY (namespace, endpoint, replica_id, window_start)
TTL window_start + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Requests by hour and replica, and of the whole endpoint';

CREATE TABLE IF NOT EXISTS hardware_minutes {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica; empty for all devices of the running replicas together',
    metric LowCardinality(String) COMMENT 'Metric, named with its unit: cpu_percent, memory_used_bytes ...',
    window_start DateTime('UTC') COMMENT 'Start of the window of event time',
    device LowCardinality(String) COMMENT 'Empty for the replica itself, else gpu0, gpu1 ...',
    version UInt64 COMMENT 'When the row was computed, in microseconds since 1970; the newest row counts',
    stored_at DateTime64(3, 'UTC') MATERIALIZED now64(3) COMMENT 'When ClickHouse inserted the row',
    samples UInt64 COMMENT 'Samples in the window',
    sum Float64 COMMENT 'Sum of the samples; the mean is sum(sum) / sum(samples)',
    min Float64 COMMENT 'Smallest sample',
    max Float64 COMMENT 'Largest sample',
    windows UInt64 COMMENT '10 s windows with samples, counted for each device of each replica',
    INDEX stored_at_range stored_at TYPE minmax GRANULARITY 1
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toDate(window_start)
ORDER BY (namespace, endpoint, replica_id, metric, window_start, device)
TTL window_start + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Hardware by minute, replica, device and metric, and of the running replicas together';

CREATE TABLE IF NOT EXISTS hardware_hours {on_cluster} AS hardware_minutes
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_start)
ORDER BY (namespace, endpoint, replica_id, metric, window_start, device)
TTL window_start + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Hardware by hour, replica, device and metric, and of the running replicas together';

CREATE TABLE IF NOT EXISTS rollups {on_cluster}
(
    target LowCardinality(String) COMMENT 'Table that the rows are rolled up into',
    looked_at DateTime64(3, 'UTC') COMMENT 'Rows of the finer level inserted before this time are in the target',
    rolled_to DateTime('UTC') COMMENT 'Windows that end by this time are in the target; later ones are read from the finer level',
    version UInt64 COMMENT 'When the roller began to read, in microseconds since 1970; the newest row counts'
)
ENGINE = {replicated}ReplacingMergeTree(version)
ORDER BY target
COMMENT 'How far each coarser level is rolled up';
