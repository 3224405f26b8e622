-- Partitions whose messages are nearly all unusable: the worker reads no further until somebody looked, or they are well.

CREATE TABLE IF NOT EXISTS paused_partitions {on_cluster}
(
    stream LowCardinality(String) COMMENT 'Topic: requests, hardware, engine or replicas',
    partition UInt32 COMMENT 'Kafka partition',
    paused UInt8 COMMENT '1 while the worker reads no further; 0 once it goes on',
    since DateTime64(3, 'UTC') COMMENT 'When the worker paused it',
    next_offset UInt64 COMMENT 'First message that waits; those before are counted, or rejected one by one',
    reason String COMMENT 'How much was rejected, for people',
    accept_until UInt64 COMMENT 'Up to this offset messages are rejected however many they are',
    changed_at DateTime64(3, 'UTC') COMMENT 'When the row was written',
    changed_by LowCardinality(String) COMMENT 'worker, or operator for the command partitions',
    version UInt64 COMMENT 'Rises with each change'
)
ENGINE = {replicated}ReplacingMergeTree(version)
ORDER BY (stream, partition)
COMMENT 'Partitions that the worker paused, as nearly all their messages were unusable, and those that it took up again';

-- A message whose stamp is of long ago (a topic with its senders' stamps) is named as long as the others: not for no time.
ALTER TABLE rejected {on_cluster}
    MODIFY TTL toDateTime(append_time) + INTERVAL 30 DAY DELETE WHERE append_time > toDateTime64('2020-01-01 00:00:00', 3, 'UTC');
