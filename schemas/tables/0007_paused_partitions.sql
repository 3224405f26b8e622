-- Partitions whose messages are nearly all unusable: the worker pauses them until an operator resumes them, or until the
-- messages are usable again.

CREATE TABLE IF NOT EXISTS paused_partitions {on_cluster}
(
    stream LowCardinality(String) COMMENT 'Topic: requests, hardware, engine or replicas',
    partition UInt32 COMMENT 'Kafka partition',
    paused UInt8 COMMENT '1 while the worker has paused the partition; 0 once it continues',
    since DateTime64(3, 'UTC') COMMENT 'When the worker paused it',
    next_offset UInt64 COMMENT 'Offset of the first message not yet read; earlier ones are counted or rejected one by one',
    reason String COMMENT 'How much was rejected, as text',
    accept_until UInt64 COMMENT 'Messages up to this offset are rejected, however many there are',
    changed_at DateTime64(3, 'UTC') COMMENT 'When the row was written',
    changed_by LowCardinality(String) COMMENT 'worker, or operator for the command partitions',
    version UInt64 COMMENT 'Increases with each change'
)
ENGINE = {replicated}ReplacingMergeTree(version)
ORDER BY (stream, partition)
COMMENT 'Partitions that the worker paused because nearly all their messages were unusable, and those it has resumed';

-- A message may have an old timestamp (in a topic with its senders' timestamps), but is kept as long as the others.
ALTER TABLE rejected {on_cluster}
    MODIFY TTL toDateTime(append_time) + INTERVAL 30 DAY DELETE WHERE append_time > toDateTime64('2020-01-01 00:00:00', 3, 'UTC');
