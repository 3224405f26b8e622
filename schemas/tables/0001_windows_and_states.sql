-- Rows are absolute: each holds everything that one chunk of one Kafka partition adds. While the chunk is open, its rows
-- are written again, and the newest version replaces the others. Read with FINAL or through the views; sums over chunks
-- are then correct.

CREATE TABLE IF NOT EXISTS request_windows {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica; unassigned for requests held while no replica runs',
    boot_id String COMMENT 'One start of the replica''s agent',
    window_start DateTime('UTC') COMMENT 'Start of the 10 s window of event time',
    partition UInt32 COMMENT 'Kafka partition that the row was folded from',
    chunk UInt64 COMMENT 'Offset of the first message of the chunk that the row was folded from',
    version UInt64 COMMENT 'Offset of the last message folded into the row',
    arrived UInt64 COMMENT 'Requests that arrived in the window',
    finished UInt64 COMMENT 'Requests whose last byte was sent in the window',
    aborted_pending UInt64 COMMENT 'Requests that ended in the window before a status was sent',
    aborted_streaming UInt64 COMMENT 'Requests that ended in the window after a status and before the last byte',
    status_codes Array(UInt16) COMMENT 'HTTP statuses sent in the window, 1xx included; sumMap with status_counts',
    status_counts Array(UInt64) COMMENT 'How often each of status_codes was sent',
    covered_from_us UInt32 COMMENT 'Start of what the boot reported of the window, in microseconds after its start',
    covered_to_us UInt32 COMMENT 'End of what the boot reported of the window, in microseconds after its start',
    pending_request_us UInt64 COMMENT 'Sum over pending requests of their time in the window, in microseconds',
    pending_max UInt64 COMMENT 'Most requests pending at once',
    pending_last UInt64 COMMENT 'Requests pending at covered_to_us',
    streaming_request_us UInt64 COMMENT 'Sum over streaming requests of their time in the window, in microseconds',
    streaming_max UInt64 COMMENT 'Most requests streaming at once',
    streaming_last UInt64 COMMENT 'Requests streaming at covered_to_us',
    active_max UInt64 COMMENT 'Most requests pending or streaming at once',
    oldest_pending_us UInt64 COMMENT 'Maximum age of a pending request reported in the window, in microseconds',
    latency_count UInt64 COMMENT 'Requests in the latency sketch',
    latency_sum_us UInt64 COMMENT 'Sum of arrival to last byte, in microseconds',
    latency_min_us UInt64 COMMENT 'Shortest arrival to last byte, in microseconds; 0 if there is none',
    latency_max_us UInt64 COMMENT 'Longest arrival to last byte, in microseconds',
    latency_buckets Array(UInt16) COMMENT 'Bucket numbers of the latency sketch; sumMap with latency_counts' CODEC(Delta(2), ZSTD(1)),
    latency_counts Array(UInt64) COMMENT 'Requests in each of latency_buckets' CODEC(T64, ZSTD(1)),
    ttfb_count UInt64 COMMENT 'Requests in the time-to-first-byte sketch',
    ttfb_sum_us UInt64 COMMENT 'Sum of arrival to status, in microseconds',
    ttfb_min_us UInt64 COMMENT 'Shortest arrival to status, in microseconds; 0 if there is none',
    ttfb_max_us UInt64 COMMENT 'Longest arrival to status, in microseconds',
    ttfb_buckets Array(UInt16) COMMENT 'Bucket numbers of the time-to-first-byte sketch; sumMap with ttfb_counts' CODEC(Delta(2), ZSTD(1)),
    ttfb_counts Array(UInt64) COMMENT 'Requests in each of ttfb_buckets' CODEC(T64, ZSTD(1))
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toDate(window_start)
ORDER BY (namespace, endpoint, window_start, replica_id, boot_id, partition, chunk)
TTL window_start + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Requests by 10 s window, boot of a replica, and chunk of the log';

CREATE TABLE IF NOT EXISTS hardware_windows {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    boot_id String COMMENT 'One start of the replica''s agent',
    device LowCardinality(String) COMMENT 'Empty for the replica itself, else gpu0, gpu1 ...',
    device_uuid String COMMENT 'The accelerator''s own identifier',
    device_name LowCardinality(String) COMMENT 'The accelerator''s model',
    metric LowCardinality(String) COMMENT 'Metric, named with its unit: cpu_percent, memory_used_bytes ...',
    window_start DateTime('UTC') COMMENT 'Start of the 10 s window of event time',
    partition UInt32 COMMENT 'Kafka partition that the row was folded from',
    chunk UInt64 COMMENT 'Offset of the first message of the chunk that the row was folded from',
    version UInt64 COMMENT 'Offset of the last message folded into the row',
    samples UInt64 COMMENT 'Samples in the window',
    sum Float64 COMMENT 'Sum of the samples, exact to thousandths; the mean is sum(sum) / sum(samples)',
    min Float64 COMMENT 'Smallest sample',
    max Float64 COMMENT 'Largest sample',
    last Float64 COMMENT 'Newest sample',
    last_at DateTime64(6, 'UTC') COMMENT 'When the newest sample was taken'
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toDate(window_start)
ORDER BY (namespace, endpoint, window_start, metric, replica_id, device, boot_id, partition, chunk)
TTL window_start + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Hardware samples by 10 s window, device and metric';

CREATE TABLE IF NOT EXISTS boot_states {on_cluster}
(
    stream LowCardinality(String) COMMENT 'Topic that the boot wrote to: requests or hardware',
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    boot_id String COMMENT 'One start of the replica''s agent',
    partition UInt32 COMMENT 'Kafka partition',
    chunk UInt64 COMMENT 'Offset of the first message of the chunk after which this is the state',
    version UInt64 COMMENT 'Offset of the last message folded into the row',
    chunk_time DateTime('UTC') COMMENT 'Append time of the chunk''s first message',
    next_seq UInt64 COMMENT 'One more than the highest seq that was counted',
    last_seq UInt64 COMMENT 'Seq of the newest batch that was folded; levels and agent totals are from that batch',
    gap_starts Array(UInt64) COMMENT 'First seq of each range below next_seq that has not arrived',
    gap_ends Array(UInt64) COMMENT 'One after the last seq of each range of gap_starts',
    batches UInt64 COMMENT 'Batches counted since the boot',
    duplicates UInt64 COMMENT 'Batches skipped since the boot because their seq was counted before',
    missing UInt64 COMMENT 'Batches below next_seq that have not arrived',
    first_at DateTime64(6, 'UTC') COMMENT 'Start of the first interval',
    last_at DateTime64(6, 'UTC') COMMENT 'End of the interval of last_seq',
    last_append DateTime64(3, 'UTC') COMMENT 'When the broker appended the newest message',
    arrived UInt64 COMMENT 'Requests counted since the boot: arrived',
    finished UInt64 COMMENT 'Requests counted since the boot: finished',
    aborted_pending UInt64 COMMENT 'Requests counted since the boot: ended before a status',
    aborted_streaming UInt64 COMMENT 'Requests counted since the boot: ended after a status and before the last byte',
    status_codes Array(UInt16) COMMENT 'HTTP statuses counted since the boot; sumMap with status_counts',
    status_counts Array(UInt64) COMMENT 'How often each of status_codes was sent',
    latency_sum_us UInt64 COMMENT 'Sum of arrival to last byte since the boot, in microseconds',
    ttfb_count UInt64 COMMENT 'Requests with a final status since the boot',
    ttfb_sum_us UInt64 COMMENT 'Sum of arrival to status since the boot, in microseconds',
    pending UInt64 COMMENT 'Requests pending at last_at',
    streaming UInt64 COMMENT 'Requests streaming at last_at',
    oldest_pending_us UInt64 COMMENT 'Age of the oldest pending request at last_at, in microseconds',
    agent_arrived UInt64 COMMENT 'The agent''s own total since the boot: arrived',
    agent_finished UInt64 COMMENT 'The agent''s own total since the boot: finished',
    agent_aborted_pending UInt64 COMMENT 'The agent''s own total since the boot: ended before a status',
    agent_aborted_streaming UInt64 COMMENT 'The agent''s own total since the boot: ended after a status and before the last byte',
    agent_status_codes Array(UInt16) COMMENT 'The agent''s own total since the boot: statuses',
    agent_status_counts Array(UInt64) COMMENT 'How often each of agent_status_codes was sent',
    agent_latency_sum_us UInt64 COMMENT 'The agent''s own total since the boot: sum of arrival to last byte',
    agent_ttfb_sum_us UInt64 COMMENT 'The agent''s own total since the boot: sum of arrival to status',
    dropped_reasons Array(String) COMMENT 'Why the agent did not record requests; sumMap with dropped_counts',
    dropped_counts Array(UInt64) COMMENT 'Requests for each of dropped_reasons',
    dropped_batch_reasons Array(String) COMMENT 'Why the agent dropped batches; sumMap with dropped_batch_counts',
    dropped_batch_counts Array(UInt64) COMMENT 'Batches for each of dropped_batch_reasons',
    recent_ends Array(UInt64) COMMENT 'Ends of the newest batches, in microseconds since 1970; 0 for a batch that has not arrived',
    stepped_back UInt8 COMMENT '1 if the sender''s clock stepped back',
    copies UInt8 COMMENT 'Other processes that sent with this boot_id, each counted as a separate boot: boot_id~2, boot_id~3 ...',
    conflicts UInt64 COMMENT 'Batches that are not counted because they came from even more processes with this boot_id',
    copy_of String COMMENT 'The boot_id that this process sent, if it is a copy; otherwise empty',
    begin_seq UInt64 COMMENT 'First seq of this process: not 0 for a copy',
    inherited String COMMENT 'The copy''s own totals at the time it was copied, as JSON; its agent_ columns do not include them'
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toDate(chunk_time)
ORDER BY (stream, partition, namespace, endpoint, replica_id, boot_id, chunk)
TTL chunk_time + INTERVAL 8 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'The fold''s state of each boot after each chunk, from which a restarted worker continues';

-- Without PARTITION BY it would have that of boot_states: a row for each day of a boot, never merged.
CREATE TABLE IF NOT EXISTS boots {on_cluster} AS boot_states
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY tuple()
ORDER BY (namespace, endpoint, replica_id, boot_id, stream, partition)
COMMENT 'The newest state of each boot, kept forever: one row per boot with cumulative counts, levels and totals';

CREATE MATERIALIZED VIEW IF NOT EXISTS boots_from_states {on_cluster} TO boots
AS SELECT * FROM boot_states;

CREATE TABLE IF NOT EXISTS replica_events {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    at DateTime64(6, 'UTC') COMMENT 'When the replica entered the state',
    state Enum8('pending' = 1, 'downloading' = 2, 'pulling' = 3, 'initializing' = 4, 'running' = 5,
        'draining' = 6, 'terminated' = 7, 'failed' = 8) COMMENT 'State that the replica entered',
    reason String COMMENT 'Reason, as text',
    partition UInt32 COMMENT 'Kafka partition of the message',
    offset UInt64 COMMENT 'Kafka offset of the message'
)
ENGINE = {replicated}ReplacingMergeTree(offset)
ORDER BY (namespace, endpoint, replica_id, at, state)
COMMENT 'Replica states over time, one row per event';

CREATE TABLE IF NOT EXISTS endpoint_settings {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    at DateTime64(6, 'UTC') COMMENT 'When the settings take effect',
    min_replicas UInt32 COMMENT 'Minimum replicas setting',
    max_replicas UInt32 COMMENT 'Maximum replicas setting',
    partition UInt32 COMMENT 'Kafka partition of the message',
    offset UInt64 COMMENT 'Kafka offset of the message'
)
ENGINE = {replicated}ReplacingMergeTree(offset)
ORDER BY (namespace, endpoint, at)
COMMENT 'Minimum and maximum replicas settings over time, one row per change';

-- A message may have an old timestamp (in a topic with its senders' timestamps), but is kept as long as the others.
CREATE TABLE IF NOT EXISTS rejected {on_cluster}
(
    topic LowCardinality(String) COMMENT 'Kafka topic of the message',
    partition UInt32 COMMENT 'Kafka partition of the message',
    offset UInt64 COMMENT 'Kafka offset of the message',
    append_time DateTime64(3, 'UTC') COMMENT 'When the broker appended the message',
    reason LowCardinality(String) COMMENT 'Why it cannot be used, one of a fixed set',
    detail String COMMENT 'What exactly is wrong',
    value_bytes UInt64 COMMENT 'Size of the message'
)
ENGINE = {replicated}ReplacingMergeTree
ORDER BY (topic, partition, offset)
TTL toDateTime(append_time) + INTERVAL 30 DAY DELETE WHERE append_time > toDateTime64('2020-01-01 00:00:00', 3, 'UTC')
COMMENT 'Messages that could not be used, one row each; the messages are in the rejected topic';

CREATE TABLE IF NOT EXISTS chunks {on_cluster}
(
    stream LowCardinality(String) COMMENT 'Topic: requests, hardware or replicas',
    partition UInt32 COMMENT 'Kafka partition',
    chunk UInt64 COMMENT 'Offset of the chunk''s first message',
    version UInt64 COMMENT 'Offset of the last message that was folded',
    chunk_time DateTime('UTC') COMMENT 'Append time of the chunk''s first message',
    last_append DateTime64(3, 'UTC') COMMENT 'Append time of the last message that was folded',
    messages UInt64 COMMENT 'Messages read',
    events UInt64 COMMENT 'Events counted',
    duplicates UInt64 COMMENT 'Messages skipped because their seq was counted before',
    rejected UInt64 COMMENT 'Messages that could not be used'
)
ENGINE = {replicated}ReplacingMergeTree(version)
ORDER BY (stream, partition, chunk)
TTL chunk_time + INTERVAL 30 DAY
COMMENT 'Chunks of the log that have been folded, and up to which offset';

CREATE TABLE IF NOT EXISTS tokens {on_cluster}
(
    token_id String COMMENT 'Public part of the token: identifies it, grants no access',
    secret_sha256 FixedString(64) COMMENT 'SHA-256 of the secret part, in hexadecimal',
    namespace String COMMENT 'Namespace that the token grants access to; * for all',
    label String COMMENT 'Description of the token, as given by its owner',
    created_at DateTime('UTC') COMMENT 'When it was created',
    revoked UInt8 COMMENT '1 if it has been revoked',
    version UInt64 COMMENT 'Increases with each change'
)
ENGINE = {replicated}ReplacingMergeTree(version)
ORDER BY token_id
COMMENT 'Access tokens of the query service, hashed';
