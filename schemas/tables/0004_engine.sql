-- What serving engines report about themselves, stored like hardware in 0001 and 0003: rows are absolute, minutes and
-- hours are rolled up. `device` is empty, so that the same queries read both.

CREATE TABLE IF NOT EXISTS engine_windows {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    boot_id String COMMENT 'One start of the replica''s agent',
    device LowCardinality(String) COMMENT 'Always empty: the figures describe the whole engine',
    engine LowCardinality(String) COMMENT 'Serving engine: vllm, tgi, triton ...; empty if unknown',
    metric LowCardinality(String) COMMENT 'Metric, named with its unit: engine_running_requests ...',
    window_start DateTime('UTC') COMMENT 'Start of the 10 s window of event time',
    partition UInt32 COMMENT 'Kafka partition that the row was folded from',
    chunk UInt64 COMMENT 'Offset of the first message of the chunk that the row was folded from',
    version UInt64 COMMENT 'Offset of the last message folded into the row',
    stored_at DateTime64(3, 'UTC') MATERIALIZED now64(3) COMMENT 'When ClickHouse inserted the row',
    samples UInt64 COMMENT 'Samples in the window',
    sum Float64 COMMENT 'Sum of the samples, exact to thousandths; the mean is sum(sum) / sum(samples)',
    min Float64 COMMENT 'Smallest sample',
    max Float64 COMMENT 'Largest sample',
    last Float64 COMMENT 'Newest sample',
    last_at DateTime64(6, 'UTC') COMMENT 'When the newest sample was taken',
    INDEX stored_at_range stored_at TYPE minmax GRANULARITY 1
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toDate(window_start)
ORDER BY (namespace, endpoint, window_start, metric, replica_id, device, boot_id, partition, chunk)
TTL window_start + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Samples of serving engines by 10 s window and metric';

CREATE TABLE IF NOT EXISTS engine_minutes {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica; empty for the running replicas together',
    metric LowCardinality(String) COMMENT 'Metric, named with its unit: engine_running_requests ...',
    window_start DateTime('UTC') COMMENT 'Start of the window of event time',
    device LowCardinality(String) COMMENT 'Always empty: the figures describe the whole engine',
    version UInt64 COMMENT 'When the row was computed, in microseconds since 1970; the newest row counts',
    stored_at DateTime64(3, 'UTC') MATERIALIZED now64(3) COMMENT 'When ClickHouse inserted the row',
    samples UInt64 COMMENT 'Samples in the window',
    sum Float64 COMMENT 'Sum of the samples; the mean is sum(sum) / sum(samples)',
    min Float64 COMMENT 'Smallest sample',
    max Float64 COMMENT 'Largest sample',
    windows UInt64 COMMENT '10 s windows with samples, counted for each replica',
    INDEX stored_at_range stored_at TYPE minmax GRANULARITY 1
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toDate(window_start)
ORDER BY (namespace, endpoint, replica_id, metric, window_start, device)
TTL window_start + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Serving engines by minute, replica and metric, and of the running replicas together';

CREATE TABLE IF NOT EXISTS engine_hours {on_cluster} AS engine_minutes
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_start)
ORDER BY (namespace, endpoint, replica_id, metric, window_start, device)
TTL window_start + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Serving engines by hour, replica and metric, and of the running replicas together';

CREATE VIEW IF NOT EXISTS engine_10s {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    engine String COMMENT 'Serving engine: vllm, tgi, triton ...; empty if unknown',
    metric String COMMENT 'Metric, named with its unit',
    window_start DateTime('UTC') COMMENT 'Start of the 10 s window',
    samples UInt64 COMMENT 'Samples in the window',
    mean Float64 COMMENT 'Mean of the samples',
    min Float64 COMMENT 'Smallest sample',
    max Float64 COMMENT 'Largest sample'
)
AS SELECT namespace, endpoint, replica_id, any(w.engine) AS engine, metric, window_start,
    sum(w.samples) AS samples, sum(w.sum) / sum(w.samples) AS mean, min(w.min) AS min, max(w.max) AS max
FROM engine_windows AS w FINAL
GROUP BY namespace, endpoint, replica_id, metric, window_start
COMMENT 'Serving engines by replica, metric and 10 s window';
