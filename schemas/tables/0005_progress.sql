-- How far the pipeline has read. A replica is silent only if its partition was read beyond its last report.

-- Every row stays true, whoever wrote it: everything the broker appended before `read_to` is stored. So the greatest counts.
CREATE TABLE IF NOT EXISTS partition_progress {on_cluster}
(
    stream LowCardinality(String) COMMENT 'Topic: requests, hardware, engine or replicas',
    partition UInt32 COMMENT 'Kafka partition',
    read_to DateTime64(3, 'UTC') COMMENT 'All messages that the broker appended before it are stored, by the broker''s clock',
    steady_since DateTime64(3, 'UTC') COMMENT 'Since when read_to has advanced without a pause of more than 5 s: the log could be written and read',
    stopped_at DateTime64(3, 'UTC') COMMENT 'How far it was read before the last pause of more than 5 s, which ended at steady_since; 1970 if unknown',
    next_offset UInt64 COMMENT 'One after the last offset whose rows are stored',
    end_offset UInt64 COMMENT 'End of the partition when the worker last looked'
)
ENGINE = {replicated}ReplacingMergeTree(read_to)
ORDER BY (stream, partition)
COMMENT 'How far each partition of the log is stored, written every second by the worker that reads it';

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
