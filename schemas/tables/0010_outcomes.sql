-- How requests ended: streams, tokens, sizes, by route, model and caller. Rows are absolute, as in 0001; minutes and hours
-- are rolled up, as in 0003. They tell more about requests that request_windows counts, and never change those counts.
-- Which requests are in them is up to the agents: those of streams and language models, or all.

CREATE TABLE IF NOT EXISTS outcome_windows {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica' CODEC(ZSTD(3)),
    boot_id String COMMENT 'One start of the replica''s agent' CODEC(ZSTD(3)),
    window_start DateTime('UTC') COMMENT 'Start of the 10 s window of event time in which the requests ended',
    route LowCardinality(String) COMMENT 'Route template; empty if unknown or not asked for, other beyond the agent''s limit',
    model LowCardinality(String) COMMENT 'Model, adapter included; empty if unknown or not asked for, other beyond the agent''s limit',
    caller LowCardinality(String) COMMENT 'Caller; empty if unknown or not asked for, other beyond the agent''s limit',
    streamed UInt8 COMMENT '1 if the response was a stream of events',
    input_upto UInt64 COMMENT 'Class of the requests by input tokens: they have at most so many; 0 if unknown' CODEC(T64, ZSTD(1)),
    partition UInt32 COMMENT 'Kafka partition that the row was folded from',
    chunk UInt64 COMMENT 'Offset of the first message of the chunk that the row was folded from' CODEC(Delta, ZSTD(1)),
    version UInt64 COMMENT 'Offset of the last message folded into the row' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(3, 'UTC') MATERIALIZED now64(3) COMMENT 'When ClickHouse inserted the row' CODEC(Delta, ZSTD(1)),
    complete UInt64 COMMENT 'Requests whose last byte was sent, and whose stream ended as its protocol ends' CODEC(T64, ZSTD(1)),
    cut UInt64 COMMENT 'Requests whose stream the server ended before its protocol''s end' CODEC(T64, ZSTD(1)),
    error UInt64 COMMENT 'Requests with an error event inside the stream' CODEC(T64, ZSTD(1)),
    aborted UInt64 COMMENT 'Requests that ended early: the client left, or the connection broke' CODEC(T64, ZSTD(1)),
    status_codes Array(UInt16) COMMENT 'HTTP statuses of the requests; sumMap with status_counts' CODEC(ZSTD(1)),
    status_counts Array(UInt64) COMMENT 'How often each of status_codes was sent' CODEC(T64, ZSTD(1)),
    latency_count UInt64 COMMENT 'Requests in the sketch of latency' CODEC(T64, ZSTD(1)),
    latency_sum_us UInt64 COMMENT 'Sum of arrival to last byte, in microseconds' CODEC(T64, ZSTD(1)),
    latency_max_us UInt64 COMMENT 'Longest arrival to last byte, in microseconds' CODEC(T64, ZSTD(1)),
    latency_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of arrival to last byte; sumMap with latency_counts' CODEC(Delta(2), ZSTD(1)),
    latency_counts Array(UInt64) COMMENT 'Requests in each of latency_buckets' CODEC(T64, ZSTD(1)),
    first_byte_count UInt64 COMMENT 'Requests in the sketch of first_byte' CODEC(T64, ZSTD(1)),
    first_byte_sum_us UInt64 COMMENT 'Sum of arrival to the first byte of the body, in microseconds' CODEC(T64, ZSTD(1)),
    first_byte_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of arrival to the first byte of the body; sumMap with first_byte_counts' CODEC(Delta(2), ZSTD(1)),
    first_byte_counts Array(UInt64) COMMENT 'Requests in each of first_byte_buckets' CODEC(T64, ZSTD(1)),
    ttft_count UInt64 COMMENT 'Requests in the sketch of ttft' CODEC(T64, ZSTD(1)),
    ttft_sum_us UInt64 COMMENT 'Sum of arrival to the first event with content (time to first token), in microseconds' CODEC(T64, ZSTD(1)),
    ttft_max_us UInt64 COMMENT 'Longest arrival to the first event with content (time to first token), in microseconds' CODEC(T64, ZSTD(1)),
    ttft_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of arrival to the first event with content (time to first token); sumMap with ttft_counts' CODEC(Delta(2), ZSTD(1)),
    ttft_counts Array(UInt64) COMMENT 'Requests in each of ttft_buckets' CODEC(T64, ZSTD(1)),
    tpot_count UInt64 COMMENT 'Requests in the sketch of tpot' CODEC(T64, ZSTD(1)),
    tpot_sum_us UInt64 COMMENT 'Sum of time per output token: (last token - first token) / (output tokens - 1), in microseconds' CODEC(T64, ZSTD(1)),
    tpot_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of time per output token: (last token - first token) / (output tokens - 1); sumMap with tpot_counts' CODEC(Delta(2), ZSTD(1)),
    tpot_counts Array(UInt64) COMMENT 'Requests in each of tpot_buckets' CODEC(T64, ZSTD(1)),
    stall_count UInt64 COMMENT 'Requests in the sketch of stall' CODEC(T64, ZSTD(1)),
    stall_sum_us UInt64 COMMENT 'Sum of longest gap between two events of a request, in microseconds' CODEC(T64, ZSTD(1)),
    stall_max_us UInt64 COMMENT 'Longest gap between two events of a request, in microseconds' CODEC(T64, ZSTD(1)),
    stall_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of longest gap between two events of a request; sumMap with stall_counts' CODEC(Delta(2), ZSTD(1)),
    stall_counts Array(UInt64) COMMENT 'Requests in each of stall_buckets' CODEC(T64, ZSTD(1)),
    itl_count UInt64 COMMENT 'Gaps in the sketch of itl' CODEC(T64, ZSTD(1)),
    itl_sum_us UInt64 COMMENT 'Sum of gaps between successive events of a stream (inter-token latency), in microseconds' CODEC(T64, ZSTD(1)),
    itl_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of gaps between successive events of a stream (inter-token latency); sumMap with itl_counts' CODEC(Delta(2), ZSTD(1)),
    itl_counts Array(UInt64) COMMENT 'Gaps in each of itl_buckets' CODEC(T64, ZSTD(1)),
    input_tokens_count UInt64 COMMENT 'Requests in the sketch of input_tokens' CODEC(T64, ZSTD(1)),
    input_tokens_sum UInt64 COMMENT 'Sum of input tokens, cached ones included' CODEC(T64, ZSTD(1)),
    input_tokens_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of input tokens, cached ones included; sumMap with input_tokens_counts' CODEC(Delta(2), ZSTD(1)),
    input_tokens_counts Array(UInt64) COMMENT 'Requests in each of input_tokens_buckets' CODEC(T64, ZSTD(1)),
    output_tokens_count UInt64 COMMENT 'Requests in the sketch of output_tokens' CODEC(T64, ZSTD(1)),
    output_tokens_sum UInt64 COMMENT 'Sum of output tokens, those of reasoning included' CODEC(T64, ZSTD(1)),
    output_tokens_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of output tokens, those of reasoning included; sumMap with output_tokens_counts' CODEC(Delta(2), ZSTD(1)),
    output_tokens_counts Array(UInt64) COMMENT 'Requests in each of output_tokens_buckets' CODEC(T64, ZSTD(1)),
    request_bytes_count UInt64 COMMENT 'Requests in the sketch of request_bytes' CODEC(T64, ZSTD(1)),
    request_bytes_sum UInt64 COMMENT 'Sum of bytes of the request''s body' CODEC(T64, ZSTD(1)),
    request_bytes_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of bytes of the request''s body; sumMap with request_bytes_counts' CODEC(Delta(2), ZSTD(1)),
    request_bytes_counts Array(UInt64) COMMENT 'Requests in each of request_bytes_buckets' CODEC(T64, ZSTD(1)),
    response_bytes_count UInt64 COMMENT 'Requests in the sketch of response_bytes' CODEC(T64, ZSTD(1)),
    response_bytes_sum UInt64 COMMENT 'Sum of bytes of the response''s body' CODEC(T64, ZSTD(1)),
    response_bytes_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of bytes of the response''s body; sumMap with response_bytes_counts' CODEC(Delta(2), ZSTD(1)),
    response_bytes_counts Array(UInt64) COMMENT 'Requests in each of response_bytes_buckets' CODEC(T64, ZSTD(1)),
    events_count UInt64 COMMENT 'Requests whose events with content are known' CODEC(T64, ZSTD(1)),
    events_sum UInt64 COMMENT 'Sum of events with content' CODEC(T64, ZSTD(1)),
    cached_tokens_count UInt64 COMMENT 'Requests whose input tokens that were cached are known' CODEC(T64, ZSTD(1)),
    cached_tokens_sum UInt64 COMMENT 'Sum of input tokens that were cached' CODEC(T64, ZSTD(1)),
    reasoning_tokens_count UInt64 COMMENT 'Requests whose output tokens of reasoning are known' CODEC(T64, ZSTD(1)),
    reasoning_tokens_sum UInt64 COMMENT 'Sum of output tokens of reasoning' CODEC(T64, ZSTD(1)),
    estimated UInt64 COMMENT 'Requests whose output tokens are an estimate: their events with content' CODEC(T64, ZSTD(1)),
    INDEX stored_at_range stored_at TYPE minmax GRANULARITY 1
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toDate(window_start)
ORDER BY (namespace, endpoint, window_start, route, model, caller, streamed, input_upto, replica_id, boot_id, partition, chunk)
TTL window_start + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Requests that ended, by 10 s window, slice, boot of a replica, and chunk of the log';

CREATE TABLE IF NOT EXISTS outcome_minutes {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica; empty for the whole endpoint' CODEC(ZSTD(3)),
    window_start DateTime('UTC') COMMENT 'Start of the window of event time in which the requests ended',
    route LowCardinality(String) COMMENT 'Route template; empty if unknown or not asked for, other beyond the agent''s limit',
    model LowCardinality(String) COMMENT 'Model, adapter included; empty if unknown or not asked for, other beyond the agent''s limit',
    caller LowCardinality(String) COMMENT 'Caller; empty if unknown or not asked for, other beyond the agent''s limit',
    streamed UInt8 COMMENT '1 if the response was a stream of events',
    input_upto UInt64 COMMENT 'Class of the requests by input tokens: they have at most so many; 0 if unknown' CODEC(T64, ZSTD(1)),
    version UInt64 COMMENT 'When the row was computed, in microseconds since 1970; the newest row counts' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(3, 'UTC') MATERIALIZED now64(3) COMMENT 'When ClickHouse inserted the row' CODEC(Delta, ZSTD(1)),
    complete UInt64 COMMENT 'Requests whose last byte was sent, and whose stream ended as its protocol ends' CODEC(T64, ZSTD(1)),
    cut UInt64 COMMENT 'Requests whose stream the server ended before its protocol''s end' CODEC(T64, ZSTD(1)),
    error UInt64 COMMENT 'Requests with an error event inside the stream' CODEC(T64, ZSTD(1)),
    aborted UInt64 COMMENT 'Requests that ended early: the client left, or the connection broke' CODEC(T64, ZSTD(1)),
    status_codes Array(UInt16) COMMENT 'HTTP statuses of the requests; sumMap with status_counts' CODEC(ZSTD(1)),
    status_counts Array(UInt64) COMMENT 'How often each of status_codes was sent' CODEC(T64, ZSTD(1)),
    latency_count UInt64 COMMENT 'Requests in the sketch of latency' CODEC(T64, ZSTD(1)),
    latency_sum_us UInt64 COMMENT 'Sum of arrival to last byte, in microseconds' CODEC(T64, ZSTD(1)),
    latency_max_us UInt64 COMMENT 'Longest arrival to last byte, in microseconds' CODEC(T64, ZSTD(1)),
    latency_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of arrival to last byte; sumMap with latency_counts' CODEC(Delta(2), ZSTD(1)),
    latency_counts Array(UInt64) COMMENT 'Requests in each of latency_buckets' CODEC(T64, ZSTD(1)),
    first_byte_count UInt64 COMMENT 'Requests in the sketch of first_byte' CODEC(T64, ZSTD(1)),
    first_byte_sum_us UInt64 COMMENT 'Sum of arrival to the first byte of the body, in microseconds' CODEC(T64, ZSTD(1)),
    first_byte_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of arrival to the first byte of the body; sumMap with first_byte_counts' CODEC(Delta(2), ZSTD(1)),
    first_byte_counts Array(UInt64) COMMENT 'Requests in each of first_byte_buckets' CODEC(T64, ZSTD(1)),
    ttft_count UInt64 COMMENT 'Requests in the sketch of ttft' CODEC(T64, ZSTD(1)),
    ttft_sum_us UInt64 COMMENT 'Sum of arrival to the first event with content (time to first token), in microseconds' CODEC(T64, ZSTD(1)),
    ttft_max_us UInt64 COMMENT 'Longest arrival to the first event with content (time to first token), in microseconds' CODEC(T64, ZSTD(1)),
    ttft_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of arrival to the first event with content (time to first token); sumMap with ttft_counts' CODEC(Delta(2), ZSTD(1)),
    ttft_counts Array(UInt64) COMMENT 'Requests in each of ttft_buckets' CODEC(T64, ZSTD(1)),
    tpot_count UInt64 COMMENT 'Requests in the sketch of tpot' CODEC(T64, ZSTD(1)),
    tpot_sum_us UInt64 COMMENT 'Sum of time per output token: (last token - first token) / (output tokens - 1), in microseconds' CODEC(T64, ZSTD(1)),
    tpot_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of time per output token: (last token - first token) / (output tokens - 1); sumMap with tpot_counts' CODEC(Delta(2), ZSTD(1)),
    tpot_counts Array(UInt64) COMMENT 'Requests in each of tpot_buckets' CODEC(T64, ZSTD(1)),
    stall_count UInt64 COMMENT 'Requests in the sketch of stall' CODEC(T64, ZSTD(1)),
    stall_sum_us UInt64 COMMENT 'Sum of longest gap between two events of a request, in microseconds' CODEC(T64, ZSTD(1)),
    stall_max_us UInt64 COMMENT 'Longest gap between two events of a request, in microseconds' CODEC(T64, ZSTD(1)),
    stall_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of longest gap between two events of a request; sumMap with stall_counts' CODEC(Delta(2), ZSTD(1)),
    stall_counts Array(UInt64) COMMENT 'Requests in each of stall_buckets' CODEC(T64, ZSTD(1)),
    itl_count UInt64 COMMENT 'Gaps in the sketch of itl' CODEC(T64, ZSTD(1)),
    itl_sum_us UInt64 COMMENT 'Sum of gaps between successive events of a stream (inter-token latency), in microseconds' CODEC(T64, ZSTD(1)),
    itl_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of gaps between successive events of a stream (inter-token latency); sumMap with itl_counts' CODEC(Delta(2), ZSTD(1)),
    itl_counts Array(UInt64) COMMENT 'Gaps in each of itl_buckets' CODEC(T64, ZSTD(1)),
    input_tokens_count UInt64 COMMENT 'Requests in the sketch of input_tokens' CODEC(T64, ZSTD(1)),
    input_tokens_sum UInt64 COMMENT 'Sum of input tokens, cached ones included' CODEC(T64, ZSTD(1)),
    input_tokens_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of input tokens, cached ones included; sumMap with input_tokens_counts' CODEC(Delta(2), ZSTD(1)),
    input_tokens_counts Array(UInt64) COMMENT 'Requests in each of input_tokens_buckets' CODEC(T64, ZSTD(1)),
    output_tokens_count UInt64 COMMENT 'Requests in the sketch of output_tokens' CODEC(T64, ZSTD(1)),
    output_tokens_sum UInt64 COMMENT 'Sum of output tokens, those of reasoning included' CODEC(T64, ZSTD(1)),
    output_tokens_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of output tokens, those of reasoning included; sumMap with output_tokens_counts' CODEC(Delta(2), ZSTD(1)),
    output_tokens_counts Array(UInt64) COMMENT 'Requests in each of output_tokens_buckets' CODEC(T64, ZSTD(1)),
    request_bytes_count UInt64 COMMENT 'Requests in the sketch of request_bytes' CODEC(T64, ZSTD(1)),
    request_bytes_sum UInt64 COMMENT 'Sum of bytes of the request''s body' CODEC(T64, ZSTD(1)),
    request_bytes_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of bytes of the request''s body; sumMap with request_bytes_counts' CODEC(Delta(2), ZSTD(1)),
    request_bytes_counts Array(UInt64) COMMENT 'Requests in each of request_bytes_buckets' CODEC(T64, ZSTD(1)),
    response_bytes_count UInt64 COMMENT 'Requests in the sketch of response_bytes' CODEC(T64, ZSTD(1)),
    response_bytes_sum UInt64 COMMENT 'Sum of bytes of the response''s body' CODEC(T64, ZSTD(1)),
    response_bytes_buckets Array(UInt16) COMMENT 'Bucket numbers of the sketch of bytes of the response''s body; sumMap with response_bytes_counts' CODEC(Delta(2), ZSTD(1)),
    response_bytes_counts Array(UInt64) COMMENT 'Requests in each of response_bytes_buckets' CODEC(T64, ZSTD(1)),
    events_count UInt64 COMMENT 'Requests whose events with content are known' CODEC(T64, ZSTD(1)),
    events_sum UInt64 COMMENT 'Sum of events with content' CODEC(T64, ZSTD(1)),
    cached_tokens_count UInt64 COMMENT 'Requests whose input tokens that were cached are known' CODEC(T64, ZSTD(1)),
    cached_tokens_sum UInt64 COMMENT 'Sum of input tokens that were cached' CODEC(T64, ZSTD(1)),
    reasoning_tokens_count UInt64 COMMENT 'Requests whose output tokens of reasoning are known' CODEC(T64, ZSTD(1)),
    reasoning_tokens_sum UInt64 COMMENT 'Sum of output tokens of reasoning' CODEC(T64, ZSTD(1)),
    estimated UInt64 COMMENT 'Requests whose output tokens are an estimate: their events with content' CODEC(T64, ZSTD(1)),
    INDEX stored_at_range stored_at TYPE minmax GRANULARITY 1
)
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toDate(window_start)
ORDER BY (namespace, endpoint, replica_id, window_start, route, model, caller, streamed, input_upto)
TTL window_start + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Requests that ended, by minute, slice and replica, and of the whole endpoint';

CREATE TABLE IF NOT EXISTS outcome_hours {on_cluster} AS outcome_minutes
ENGINE = {replicated}ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_start)
ORDER BY (namespace, endpoint, replica_id, window_start, route, model, caller, streamed, input_upto)
TTL window_start + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Requests that ended, by hour, slice and replica, and of the whole endpoint';

CREATE TABLE IF NOT EXISTS request_samples {on_cluster}
(
    namespace LowCardinality(String) COMMENT 'Owner of the endpoint',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    at DateTime64(6, 'UTC') COMMENT 'When the request ended' CODEC(Delta, ZSTD(1)),
    replica_id String COMMENT 'Replica' CODEC(ZSTD(3)),
    boot_id String COMMENT 'One start of the replica''s agent' CODEC(ZSTD(3)),
    partition UInt32 COMMENT 'Kafka partition of its message',
    offset UInt64 COMMENT 'Offset of its message' CODEC(Delta, ZSTD(1)),
    number UInt32 COMMENT 'Its number within the message' CODEC(T64, ZSTD(1)),
    why LowCardinality(String) COMMENT 'Why it was chosen: failed, slow or random',
    of UInt64 COMMENT 'How many requests it was chosen from' CODEC(T64, ZSTD(1)),
    route LowCardinality(String) COMMENT 'Route template; empty if unknown',
    model LowCardinality(String) COMMENT 'Model; empty if unknown',
    caller LowCardinality(String) COMMENT 'Caller; empty if unknown',
    streamed UInt8 COMMENT '1 if the response was a stream of events',
    ended LowCardinality(String) COMMENT 'complete, cut, error or aborted',
    status Nullable(UInt16) COMMENT 'HTTP status; NULL if none was sent',
    duration_us UInt64 COMMENT 'Arrival to the end, in microseconds' CODEC(T64, ZSTD(1)),
    wait_us Nullable(UInt64) COMMENT 'Arrival to status, in microseconds; NULL if unknown' CODEC(ZSTD(1)),
    first_token_us Nullable(UInt64) COMMENT 'Arrival to the first event with content, in microseconds; NULL if unknown' CODEC(ZSTD(1)),
    last_token_us Nullable(UInt64) COMMENT 'Arrival to the last event with content, in microseconds; NULL if unknown' CODEC(ZSTD(1)),
    gap_max_us Nullable(UInt64) COMMENT 'Longest gap between two events, in microseconds; NULL if unknown' CODEC(ZSTD(1)),
    events Nullable(UInt64) COMMENT 'Events with content; NULL if unknown' CODEC(ZSTD(1)),
    input_tokens Nullable(UInt64) COMMENT 'Input tokens; NULL if unknown' CODEC(ZSTD(1)),
    output_tokens Nullable(UInt64) COMMENT 'Output tokens; NULL if unknown' CODEC(ZSTD(1)),
    request_bytes Nullable(UInt64) COMMENT 'Bytes of the request''s body; NULL if unknown' CODEC(ZSTD(1)),
    response_bytes Nullable(UInt64) COMMENT 'Bytes of the response''s body; NULL if unknown' CODEC(ZSTD(1)),
    request_id String COMMENT 'X-Request-Id, or the server''s own; empty if there is none' CODEC(ZSTD(3)),
    trace_id String COMMENT 'Trace of the W3C traceparent header; empty if there is none' CODEC(ZSTD(3))
)
ENGINE = {replicated}ReplacingMergeTree
PARTITION BY toDate(at)
ORDER BY (namespace, endpoint, at, replica_id, boot_id, partition, offset, number)
TTL toDateTime(at) + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Single requests that failed, were slow, or were chosen at random, with their ids';
