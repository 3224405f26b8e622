-- For analysts: one row per replica and window, with chunks and boots combined, ready to sum and chart.

CREATE FUNCTION IF NOT EXISTS sketchQuantile {on_cluster} AS (buckets, counts, q) ->
    if(arraySum(counts) = 0, nan,
       if(arrayElement(buckets, arrayFirstIndex(c -> c >= greatest(q * arraySum(counts), 1), arrayCumSum(counts))) = 0, 0.,
          exp2((arrayElement(buckets, arrayFirstIndex(c -> c >= greatest(q * arraySum(counts), 1), arrayCumSum(counts))) - 1280) / 64)
              * (2000000 / (1 + exp2(1 / 64)))));

CREATE VIEW IF NOT EXISTS requests_10s {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    window_start DateTime('UTC') COMMENT 'Start of the 10 s window',
    arrived UInt64 COMMENT 'Requests that arrived',
    finished UInt64 COMMENT 'Requests whose last byte was sent',
    aborted_pending UInt64 COMMENT 'Requests that ended before a status',
    aborted_streaming UInt64 COMMENT 'Requests that ended after a status',
    status Tuple(Array(UInt16), Array(UInt64)) COMMENT 'Statuses and how often each was sent',
    pending_mean Float64 COMMENT 'Time-weighted mean of pending requests',
    pending_max UInt64 COMMENT 'Most pending at once, summed over the replica''s processes',
    streaming_mean Float64 COMMENT 'Time-weighted mean of streaming requests',
    streaming_max UInt64 COMMENT 'Most streaming at once, summed over the replica''s processes',
    oldest_pending_seconds Float64 COMMENT 'Maximum age of a pending request',
    latency Tuple(Array(UInt16), Array(UInt64)) COMMENT 'Latency sketch: merge with sumMap, read with sketchQuantile',
    latency_count UInt64 COMMENT 'Requests in the sketch',
    latency_sum_seconds Float64 COMMENT 'Sum of arrival to last byte',
    ttfb Tuple(Array(UInt16), Array(UInt64)) COMMENT 'Time-to-first-byte sketch',
    ttfb_count UInt64 COMMENT 'Requests in the sketch',
    ttfb_sum_seconds Float64 COMMENT 'Sum of arrival to status'
)
AS SELECT
    namespace, endpoint, replica_id, window_start,
    sum(b_arrived) AS arrived, sum(b_finished) AS finished,
    sum(b_aborted_pending) AS aborted_pending, sum(b_aborted_streaming) AS aborted_streaming,
    sumMap(b_status.1, b_status.2) AS status,
    sum(b_pending_us) / greatest(max(b_to) - min(b_from), 1) AS pending_mean, sum(b_pending_max) AS pending_max,
    sum(b_streaming_us) / greatest(max(b_to) - min(b_from), 1) AS streaming_mean, sum(b_streaming_max) AS streaming_max,
    max(b_oldest) / 1e6 AS oldest_pending_seconds,
    sumMap(b_latency.1, b_latency.2) AS latency, sum(b_latency_count) AS latency_count,
    sum(b_latency_sum) / 1e6 AS latency_sum_seconds,
    sumMap(b_ttfb.1, b_ttfb.2) AS ttfb, sum(b_ttfb_count) AS ttfb_count, sum(b_ttfb_sum) / 1e6 AS ttfb_sum_seconds
FROM
(
    SELECT
        namespace, endpoint, replica_id, window_start, boot_id,
        sum(arrived) AS b_arrived, sum(finished) AS b_finished,
        sum(aborted_pending) AS b_aborted_pending, sum(aborted_streaming) AS b_aborted_streaming,
        sumMap(status_codes, status_counts) AS b_status,
        min(covered_from_us) AS b_from, max(covered_to_us) AS b_to,
        sum(pending_request_us) AS b_pending_us, max(pending_max) AS b_pending_max,
        sum(streaming_request_us) AS b_streaming_us, max(streaming_max) AS b_streaming_max,
        max(oldest_pending_us) AS b_oldest,
        sumMap(latency_buckets, latency_counts) AS b_latency, sum(latency_count) AS b_latency_count,
        sum(latency_sum_us) AS b_latency_sum,
        sumMap(ttfb_buckets, ttfb_counts) AS b_ttfb, sum(ttfb_count) AS b_ttfb_count, sum(ttfb_sum_us) AS b_ttfb_sum
    FROM request_windows FINAL
    GROUP BY namespace, endpoint, replica_id, window_start, boot_id
)
GROUP BY namespace, endpoint, replica_id, window_start
COMMENT 'Requests by replica and 10 s window';

CREATE VIEW IF NOT EXISTS hardware_10s {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    device String COMMENT 'Empty for the replica itself, else gpu0, gpu1 ...',
    metric String COMMENT 'Metric, named with its unit',
    window_start DateTime('UTC') COMMENT 'Start of the 10 s window',
    samples UInt64 COMMENT 'Samples in the window',
    mean Float64 COMMENT 'Mean of the samples',
    min Float64 COMMENT 'Smallest sample',
    max Float64 COMMENT 'Largest sample'
)
AS SELECT namespace, endpoint, replica_id, device, metric, window_start,
    sum(w.samples) AS samples, sum(w.sum) / sum(w.samples) AS mean, min(w.min) AS min, max(w.max) AS max
FROM hardware_windows AS w FINAL
GROUP BY namespace, endpoint, replica_id, device, metric, window_start
COMMENT 'Hardware by replica, device, metric and 10 s window';

CREATE VIEW IF NOT EXISTS replica_timeline {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    state String COMMENT 'State that the replica was in',
    reason String COMMENT 'Reason, as text',
    entered_at DateTime64(6, 'UTC') COMMENT 'When it entered the state',
    left_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When it left the state; NULL while it is in it',
    seconds Nullable(Float64) COMMENT 'Time spent in the state'
)
AS SELECT namespace, endpoint, replica_id, toString(event_state) AS state, event_reason AS reason, at AS entered_at,
    next_at AS left_at, (toUnixTimestamp64Micro(assumeNotNull(next_at)) - toUnixTimestamp64Micro(at)) / 1e6
        + if(next_at IS NULL, NULL, 0) AS seconds
FROM
(
    SELECT namespace, endpoint, replica_id, at, state AS event_state, reason AS event_reason,
        leadInFrame(toNullable(at)) OVER (PARTITION BY namespace, endpoint, replica_id ORDER BY at, state
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_at
    FROM replica_events FINAL
) AS entered
COMMENT 'Time that each replica spent in each state';
