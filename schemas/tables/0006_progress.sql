-- How far the pipeline has read. A replica is silent only if its partition was read beyond its last report.

-- Every row stays true, whoever wrote it: everything the broker appended before `read_to` is stored. So the greatest counts.
CREATE TABLE IF NOT EXISTS partition_progress {on_cluster}
(
    stream LowCardinality(String) COMMENT 'Topic: requests, hardware, engine or replicas',
    partition UInt32 COMMENT 'Kafka partition',
    read_to DateTime64(3, 'UTC') COMMENT 'All messages that the broker appended before it are stored, by the broker''s clock',
    steady_since DateTime64(3, 'UTC') COMMENT 'Since when read_to has advanced without a pause of more than 5 s: the log could be written and read',
    next_offset UInt64 COMMENT 'One after the last offset whose rows are stored',
    end_offset UInt64 COMMENT 'End of the partition when the worker last looked'
)
ENGINE = {replicated}ReplacingMergeTree(read_to)
ORDER BY (stream, partition)
COMMENT 'How far each partition of the log is stored, written every second by the worker that reads it';
