-- The layer for tools that point and click (Metabase, Superset, Grafana, DBeaver): plain columns, one row for each minute,
-- FINAL and the newest minutes built in. Counts add up over any rows; a minute in which nothing was reported has no row.

-- The minutes so far: those that are rolled up, and after them the same from the 10 s windows.
CREATE VIEW IF NOT EXISTS request_minutes_so_far {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica; empty for the whole endpoint, unassigned for requests held while no replica runs',
    minute DateTime('UTC') COMMENT 'Start of the minute',
    arrived UInt64 COMMENT 'Requests that arrived',
    finished UInt64 COMMENT 'Requests whose last byte was sent',
    aborted_pending UInt64 COMMENT 'Requests that ended before a status',
    aborted_streaming UInt64 COMMENT 'Requests that ended after a status and before the last byte',
    status_codes Array(UInt16) COMMENT 'HTTP statuses sent in the minute, 1xx included',
    status_counts Array(UInt64) COMMENT 'How often each of status_codes was sent',
    covered_us UInt64 COMMENT 'Part of the minute that was reported, in microseconds',
    pending_request_us UInt64 COMMENT 'Sum over pending requests of their time in the minute, in microseconds',
    pending_max UInt64 COMMENT 'Maximum over 10 s windows of the most requests pending at once, summed over processes',
    streaming_request_us UInt64 COMMENT 'Sum over streaming requests of their time in the minute, in microseconds',
    streaming_max UInt64 COMMENT 'Maximum over 10 s windows of the most requests streaming at once, summed over processes',
    oldest_pending_us UInt64 COMMENT 'Maximum age of a pending request reported in the minute, in microseconds',
    latency_count UInt64 COMMENT 'Requests in the latency sketch',
    latency_sum_us UInt64 COMMENT 'Sum of arrival to last byte, in microseconds',
    latency_max_us UInt64 COMMENT 'Longest arrival to last byte, in microseconds',
    latency_buckets Array(UInt16) COMMENT 'Bucket numbers of the latency sketch; sumMap with latency_counts',
    latency_counts Array(UInt64) COMMENT 'Requests in each of latency_buckets',
    ttfb_count UInt64 COMMENT 'Requests in the time-to-first-byte sketch',
    ttfb_sum_us UInt64 COMMENT 'Sum of arrival to status, in microseconds',
    ttfb_max_us UInt64 COMMENT 'Longest arrival to status, in microseconds',
    ttfb_buckets Array(UInt16) COMMENT 'Bucket numbers of the time-to-first-byte sketch; sumMap with ttfb_counts',
    ttfb_counts Array(UInt64) COMMENT 'Requests in each of ttfb_buckets'
)
AS
SELECT namespace, endpoint, replica_id, window_start AS minute,
    arrived, finished, aborted_pending, aborted_streaming, status_codes, status_counts, covered_us,
    pending_request_us, pending_max, streaming_request_us, streaming_max, oldest_pending_us,
    latency_count, latency_sum_us, latency_max_us, latency_buckets, latency_counts,
    ttfb_count, ttfb_sum_us, ttfb_max_us, ttfb_buckets, ttfb_counts
FROM request_minutes FINAL
WHERE window_start < (SELECT argMax(rolled_to, version) FROM rollups WHERE target = 'request_minutes')
UNION ALL
SELECT namespace, endpoint, replica AS replica_id, minute,
    sum(w_arrived) AS arrived, sum(w_finished) AS finished,
    sum(w_aborted_pending) AS aborted_pending, sum(w_aborted_streaming) AS aborted_streaming,
    sumMap(w_status.1, w_status.2).1 AS status_codes, sumMap(w_status.1, w_status.2).2 AS status_counts,
    sum(w_covered_us) AS covered_us,
    sum(w_pending_us) AS pending_request_us, max(w_pending_max) AS pending_max,
    sum(w_streaming_us) AS streaming_request_us, max(w_streaming_max) AS streaming_max,
    max(w_oldest_us) AS oldest_pending_us,
    sum(w_latency_count) AS latency_count, sum(w_latency_sum_us) AS latency_sum_us, max(w_latency_max_us) AS latency_max_us,
    sumMap(w_latency.1, w_latency.2).1 AS latency_buckets, sumMap(w_latency.1, w_latency.2).2 AS latency_counts,
    sum(w_ttfb_count) AS ttfb_count, sum(w_ttfb_sum_us) AS ttfb_sum_us, max(w_ttfb_max_us) AS ttfb_max_us,
    sumMap(w_ttfb.1, w_ttfb.2).1 AS ttfb_buckets, sumMap(w_ttfb.1, w_ttfb.2).2 AS ttfb_counts
FROM
(
    -- The boots of a replica, or of all replicas, in a 10 s window: what several cover at once counts once.
    SELECT namespace, endpoint, replica, toStartOfMinute(window_start) AS minute, window_start,
        sum(b_arrived) AS w_arrived, sum(b_finished) AS w_finished,
        sum(b_aborted_pending) AS w_aborted_pending, sum(b_aborted_streaming) AS w_aborted_streaming,
        sumMap(b_status.1, b_status.2) AS w_status,
        toUInt64(greatest(max(b_to) - min(b_from), 0)) AS w_covered_us,
        sum(b_pending_us) AS w_pending_us, sum(b_pending_max) AS w_pending_max,
        sum(b_streaming_us) AS w_streaming_us, sum(b_streaming_max) AS w_streaming_max, max(b_oldest_us) AS w_oldest_us,
        sum(b_latency_count) AS w_latency_count, sum(b_latency_sum_us) AS w_latency_sum_us,
        max(b_latency_max_us) AS w_latency_max_us, sumMap(b_latency.1, b_latency.2) AS w_latency,
        sum(b_ttfb_count) AS w_ttfb_count, sum(b_ttfb_sum_us) AS w_ttfb_sum_us,
        max(b_ttfb_max_us) AS w_ttfb_max_us, sumMap(b_ttfb.1, b_ttfb.2) AS w_ttfb
    FROM
    (
        SELECT namespace, endpoint, replica_id, window_start, boot_id,
            sum(arrived) AS b_arrived, sum(finished) AS b_finished,
            sum(aborted_pending) AS b_aborted_pending, sum(aborted_streaming) AS b_aborted_streaming,
            sumMap(status_codes, status_counts) AS b_status,
            min(covered_from_us) AS b_from, max(covered_to_us) AS b_to,
            sum(pending_request_us) AS b_pending_us, max(pending_max) AS b_pending_max,
            sum(streaming_request_us) AS b_streaming_us, max(streaming_max) AS b_streaming_max,
            max(oldest_pending_us) AS b_oldest_us,
            sum(latency_count) AS b_latency_count, sum(latency_sum_us) AS b_latency_sum_us,
            max(latency_max_us) AS b_latency_max_us, sumMap(latency_buckets, latency_counts) AS b_latency,
            sum(ttfb_count) AS b_ttfb_count, sum(ttfb_sum_us) AS b_ttfb_sum_us,
            max(ttfb_max_us) AS b_ttfb_max_us, sumMap(ttfb_buckets, ttfb_counts) AS b_ttfb
        FROM request_windows FINAL
        WHERE window_start >= (SELECT argMax(rolled_to, version) FROM rollups WHERE target = 'request_minutes')
        GROUP BY namespace, endpoint, replica_id, window_start, boot_id
    )
    ARRAY JOIN ['', replica_id] AS replica
    GROUP BY namespace, endpoint, replica, window_start
)
GROUP BY namespace, endpoint, replica, minute
COMMENT 'request_minutes and, after what is rolled up, the same from the 10 s windows: the base of the views for tools';

CREATE VIEW IF NOT EXISTS requests {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica; unassigned for requests held while no replica runs',
    minute DateTime('UTC') COMMENT 'Start of the minute',
    arrived UInt64 COMMENT 'Requests that arrived',
    finished UInt64 COMMENT 'Requests whose last byte was sent',
    aborted_pending UInt64 COMMENT 'Requests that ended before a status',
    aborted_streaming UInt64 COMMENT 'Requests that ended after a status and before the last byte',
    responded UInt64 COMMENT 'Requests that got a final status (1xx are not final)',
    status_2xx UInt64 COMMENT 'Requests with a status of 200 to 299',
    status_3xx UInt64 COMMENT 'Requests with a status of 300 to 399',
    status_4xx UInt64 COMMENT 'Requests with a status of 400 to 499',
    status_5xx UInt64 COMMENT 'Requests with a status of 500 and more',
    reported_seconds Float64 COMMENT 'Part of the minute that the replica reported; the sum over replicas / 60 is how many reported on average',
    pending_seconds Float64 COMMENT 'Sum over pending requests of their time in the minute; sum(pending_seconds) / the seconds of the time range is the mean pending',
    streaming_seconds Float64 COMMENT 'Like pending_seconds, for streaming requests',
    pending_mean Float64 COMMENT 'Time-weighted mean of pending requests; add up over replicas, average over minutes',
    streaming_mean Float64 COMMENT 'Time-weighted mean of streaming requests; add up over replicas, average over minutes',
    pending_max UInt64 COMMENT 'Most requests pending at once, summed over the replica''s processes',
    streaming_max UInt64 COMMENT 'Most requests streaming at once, summed over the replica''s processes',
    oldest_pending_seconds Float64 COMMENT 'Maximum age of a pending request'
)
AS SELECT namespace, endpoint, replica_id, minute, arrived, finished, aborted_pending, aborted_streaming,
    arraySum((code, times) -> if(code >= 200, times, 0), status_codes, status_counts) AS responded,
    arraySum((code, times) -> if(intDiv(code, 100) = 2, times, 0), status_codes, status_counts) AS status_2xx,
    arraySum((code, times) -> if(intDiv(code, 100) = 3, times, 0), status_codes, status_counts) AS status_3xx,
    arraySum((code, times) -> if(intDiv(code, 100) = 4, times, 0), status_codes, status_counts) AS status_4xx,
    arraySum((code, times) -> if(code >= 500, times, 0), status_codes, status_counts) AS status_5xx,
    covered_us / 1e6 AS reported_seconds, pending_request_us / 1e6 AS pending_seconds,
    streaming_request_us / 1e6 AS streaming_seconds,
    pending_request_us / greatest(covered_us, 1) AS pending_mean,
    streaming_request_us / greatest(covered_us, 1) AS streaming_mean,
    pending_max, streaming_max, oldest_pending_us / 1e6 AS oldest_pending_seconds
FROM request_minutes_so_far
WHERE replica_id != ''
COMMENT 'Requests by replica and minute: how many arrived, finished, failed and waited. Counts add up';

CREATE VIEW IF NOT EXISTS statuses {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    minute DateTime('UTC') COMMENT 'Start of the minute',
    status UInt16 COMMENT 'HTTP status',
    status_class String COMMENT 'Class of the status: 2xx, 4xx, 5xx ...',
    requests UInt64 COMMENT 'Requests that got this status in the minute'
)
AS SELECT namespace, endpoint, replica_id, minute, sent.1 AS status, concat(toString(intDiv(status, 100)), 'xx') AS status_class,
    sent.2 AS requests
FROM request_minutes_so_far
ARRAY JOIN arrayZip(status_codes, status_counts) AS sent
WHERE replica_id != ''
COMMENT 'Statuses by replica and minute, 1xx included. Counts add up';

CREATE VIEW IF NOT EXISTS latencies {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    minute DateTime('UTC') COMMENT 'Start of the minute',
    measure String COMMENT 'latency (arrival to last byte) or ttfb (arrival to status): choose one',
    seconds Float64 COMMENT 'Duration, within 0.55 %: quantileExactWeighted(0.95)(seconds, requests) is the p95 of any rows',
    requests UInt64 COMMENT 'Requests that took this long',
    bucket UInt16 COMMENT 'Bucket of the sketch that the duration is in'
)
AS SELECT namespace, endpoint, replica_id, minute, measure,
    if(bucket = 0, 0., exp2((bucket - 1280) / 64) * (2 / (1 + exp2(1 / 64)))) AS seconds, took.2 AS requests, took.1 AS bucket
FROM
(
    SELECT namespace, endpoint, replica_id, minute, 'latency' AS measure, arrayZip(latency_buckets, latency_counts) AS sketch
    FROM request_minutes_so_far
    WHERE replica_id != ''
    UNION ALL
    SELECT namespace, endpoint, replica_id, minute, 'ttfb' AS measure, arrayZip(ttfb_buckets, ttfb_counts) AS sketch
    FROM request_minutes_so_far
    WHERE replica_id != ''
)
ARRAY JOIN sketch AS took
COMMENT 'Latency and time to first byte: how many requests took how long, by replica and minute. Counts add up, and quantiles of any rows are right';

CREATE VIEW IF NOT EXISTS latency_quantiles {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    minute DateTime('UTC') COMMENT 'Start of the minute',
    requests UInt64 COMMENT 'Requests that finished in the minute: those of the latencies. What ended early has none',
    latency_mean_seconds Nullable(Float64) COMMENT 'Mean of arrival to last byte; NULL if there are none',
    latency_p50_seconds Nullable(Float64) COMMENT 'Median, within 0.55 %',
    latency_p90_seconds Nullable(Float64) COMMENT '90th percentile, within 0.55 %',
    latency_p95_seconds Nullable(Float64) COMMENT '95th percentile, within 0.55 %',
    latency_p99_seconds Nullable(Float64) COMMENT '99th percentile, within 0.55 %',
    latency_max_seconds Nullable(Float64) COMMENT 'Longest',
    ttfb_requests UInt64 COMMENT 'Requests that got a final status in the minute: those of the times to first byte',
    ttfb_mean_seconds Nullable(Float64) COMMENT 'Mean of arrival to status; NULL if there are none',
    ttfb_p50_seconds Nullable(Float64) COMMENT 'Median, within 0.55 %',
    ttfb_p90_seconds Nullable(Float64) COMMENT '90th percentile, within 0.55 %',
    ttfb_p95_seconds Nullable(Float64) COMMENT '95th percentile, within 0.55 %',
    ttfb_p99_seconds Nullable(Float64) COMMENT '99th percentile, within 0.55 %',
    ttfb_max_seconds Nullable(Float64) COMMENT 'Longest'
)
AS SELECT namespace, endpoint, minute,
    latency_count AS requests,
    if(latency_count = 0, NULL, latency_sum_us / latency_count / 1e6) AS latency_mean_seconds,
    if(latency_count = 0, NULL, sketchQuantile(latency_buckets, latency_counts, 0.5) / 1e6) AS latency_p50_seconds,
    if(latency_count = 0, NULL, sketchQuantile(latency_buckets, latency_counts, 0.9) / 1e6) AS latency_p90_seconds,
    if(latency_count = 0, NULL, sketchQuantile(latency_buckets, latency_counts, 0.95) / 1e6) AS latency_p95_seconds,
    if(latency_count = 0, NULL, sketchQuantile(latency_buckets, latency_counts, 0.99) / 1e6) AS latency_p99_seconds,
    if(latency_count = 0, NULL, latency_max_us / 1e6) AS latency_max_seconds,
    ttfb_count AS ttfb_requests,
    if(ttfb_count = 0, NULL, ttfb_sum_us / ttfb_count / 1e6) AS ttfb_mean_seconds,
    if(ttfb_count = 0, NULL, sketchQuantile(ttfb_buckets, ttfb_counts, 0.5) / 1e6) AS ttfb_p50_seconds,
    if(ttfb_count = 0, NULL, sketchQuantile(ttfb_buckets, ttfb_counts, 0.9) / 1e6) AS ttfb_p90_seconds,
    if(ttfb_count = 0, NULL, sketchQuantile(ttfb_buckets, ttfb_counts, 0.95) / 1e6) AS ttfb_p95_seconds,
    if(ttfb_count = 0, NULL, sketchQuantile(ttfb_buckets, ttfb_counts, 0.99) / 1e6) AS ttfb_p99_seconds,
    if(ttfb_count = 0, NULL, ttfb_max_us / 1e6) AS ttfb_max_seconds
FROM request_minutes_so_far
WHERE replica_id = ''
COMMENT 'Quantiles of each endpoint by minute, to chart as they are: never average them. For other times or replicas use latencies';

CREATE VIEW IF NOT EXISTS replicas {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    state String COMMENT 'State now; failed if its agent went silent, unknown while the pipeline is late, departed if nothing was heard of it for 5 minutes (for a day before it has an agent)',
    reason String COMMENT 'Reason of the newest state that was reported, as text; empty if there is none',
    first_heard_at DateTime64(3, 'UTC') COMMENT 'First state or report',
    last_heard_at DateTime64(3, 'UTC') COMMENT 'Newest state or report',
    asked_for_at Nullable(DateTime64(3, 'UTC')) COMMENT 'First state of its newest start (a name may be used again after its end); NULL if no state was reported',
    ready_at Nullable(DateTime64(3, 'UTC')) COMMENT 'First time that it was running after asked_for_at; NULL if it was not yet, or states are not reported',
    seconds_to_ready Nullable(Float64) COMMENT 'From asked_for_at to ready_at; NULL if the first state of that start is running: when it was asked for is unknown',
    boots UInt64 COMMENT 'Starts of its agents: processes and restarts',
    pending_requests Nullable(Float64) COMMENT 'Mean pending requests of the last 20 s; NULL if unknown',
    streaming_requests Nullable(Float64) COMMENT 'Mean streaming requests of the last 20 s; NULL if unknown',
    cpu_percent Nullable(Float64) COMMENT 'Mean of the last 60 s; NULL if unknown',
    memory_percent Nullable(Float64) COMMENT 'Used share of its memory limit: mean of the last 60 s; NULL if unknown',
    gpu_percent Nullable(Float64) COMMENT 'Mean of the last 60 s over its GPUs; NULL if unknown',
    gpu_memory_percent Nullable(Float64) COMMENT 'Used share of the memory of its GPUs: mean of the last 60 s; NULL if unknown'
)
AS SELECT namespace, endpoint, replica_id,
    multiIf(state_now != '', state_now, last_state IN ('terminated', 'failed'), last_state, 'departed') AS state,
    last_reason AS reason, first_heard_at, last_heard_at, asked_for_at, ready_at,
    if(ready_at > asked_for_at, (toUnixTimestamp64Milli(ready_at) - toUnixTimestamp64Milli(asked_for_at)) / 1000, NULL)
        AS seconds_to_ready,
    boots, pending_requests, streaming_requests, cpu_percent, memory_percent, gpu_percent, gpu_memory_percent
FROM
(
    -- A union, not a join: so a filter on the endpoint reaches all three.
    SELECT namespace, endpoint, replica_id,
        min(first_at) AS first_heard_at, max(last_at) AS last_heard_at, max(event_state) AS last_state,
        max(event_reason) AS last_reason, min(asked_for) AS asked_for_at, min(ready) AS ready_at, sum(starts) AS boots,
        max(signal_state) AS state_now, max(pending) AS pending_requests, max(streaming) AS streaming_requests,
        max(cpu) AS cpu_percent, max(memory) AS memory_percent, max(gpu) AS gpu_percent, max(gpu_memory) AS gpu_memory_percent
    FROM
    (
        SELECT namespace, endpoint, replica_id, toDateTime64(min(b.first_at), 3, 'UTC') AS first_at, max(last_append) AS last_at,
            '' AS event_state, '' AS event_reason,
            CAST(NULL, 'Nullable(DateTime64(3, ''UTC''))') AS asked_for, CAST(NULL, 'Nullable(DateTime64(3, ''UTC''))') AS ready,
            uniqExact(boot_id) AS starts, '' AS signal_state,
            CAST(NULL, 'Nullable(Float64)') AS pending, CAST(NULL, 'Nullable(Float64)') AS streaming,
            CAST(NULL, 'Nullable(Float64)') AS cpu, CAST(NULL, 'Nullable(Float64)') AS memory,
            CAST(NULL, 'Nullable(Float64)') AS gpu, CAST(NULL, 'Nullable(Float64)') AS gpu_memory
        FROM boots AS b
        GROUP BY namespace, endpoint, replica_id
        UNION ALL
        SELECT namespace, endpoint, replica_id, toDateTime64(first_event, 3, 'UTC'), toDateTime64(last_event, 3, 'UTC'),
            newest_state, newest_reason, toDateTime64(start[1].1, 3, 'UTC'),
            if(running_from > 0, toDateTime64(start[running_from].1, 3, 'UTC'), NULL),
            0, '', NULL, NULL, NULL, NULL, NULL, NULL
        FROM
        (
            SELECT namespace, endpoint, replica_id, min(at) AS first_event, max(at) AS last_event,
                toString(argMax(e.state, (e.at, e.offset))) AS newest_state, argMax(e.reason, (e.at, e.offset)) AS newest_reason,
                arraySort(groupArray((e.at, e.offset, toString(e.state)))) AS reported,
                arrayMap(event -> event.1, reported) AS times,
                -- As on the page, a state that the next one follows at once was never entered; nor are replaced rows states.
                arrayFilter((event, next) -> event.1 != next, reported, arrayPushBack(arrayPopFront(times), toDateTime64('2299-01-01 00:00:00', 6, 'UTC')))
                    AS events,
                arrayMap(event -> event.3 IN ('terminated', 'failed'), events) AS ends,
                -- Its newest start: from the last event that is no end and follows one.
                arrayLastIndex((is_end, was_end) -> was_end AND NOT is_end, ends, arrayPushFront(arrayPopBack(ends), 0)) AS began,
                arraySlice(events, greatest(began, 1)) AS start,
                arrayFirstIndex(event -> event.3 = 'running', start) AS running_from
            FROM replica_events AS e
            GROUP BY namespace, endpoint, replica_id
        )
        UNION ALL
        SELECT namespace, endpoint, replica_id, toDateTime64('2299-01-01 00:00:00', 3, 'UTC'), toDateTime64(0, 3, 'UTC'),
            '', '', NULL, NULL, 0, state, pending_requests, streaming_requests, cpu_percent, memory_percent, gpu_percent,
            gpu_memory_percent
        FROM replica_signals
    )
    WHERE replica_id != 'unassigned'
    GROUP BY namespace, endpoint, replica_id
) AS heard
COMMENT 'Every replica that was ever heard of: its state and load now, and how long it took to be ready';

CREATE VIEW IF NOT EXISTS hardware {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    device String COMMENT 'Empty for the replica itself, else gpu0, gpu1 ...',
    metric String COMMENT 'Metric, named with its unit: cpu_percent, memory_used_bytes, gpu_percent ...: choose one',
    minute DateTime('UTC') COMMENT 'Start of the minute',
    samples UInt64 COMMENT 'Samples in the minute',
    sum Float64 COMMENT 'Sum of the samples; sum(sum) / sum(samples) is the mean of any rows',
    mean Float64 COMMENT 'Mean of the samples of the minute',
    min Float64 COMMENT 'Smallest sample',
    max Float64 COMMENT 'Largest sample'
)
AS SELECT namespace, endpoint, replica_id, device, metric, window_start AS minute, samples, sum, sum / samples AS mean, min, max
FROM hardware_minutes FINAL
WHERE replica_id != '' AND window_start < (SELECT argMax(rolled_to, version) FROM rollups WHERE target = 'hardware_minutes')
UNION ALL
SELECT namespace, endpoint, replica_id, device, metric, toStartOfMinute(window_start) AS minute,
    sum(w.samples) AS samples, sum(w.sum) AS sum, sum(w.sum) / sum(w.samples) AS mean, min(w.min) AS min, max(w.max) AS max
FROM hardware_windows AS w FINAL
WHERE window_start >= (SELECT argMax(rolled_to, version) FROM rollups WHERE target = 'hardware_minutes')
GROUP BY namespace, endpoint, replica_id, device, metric, minute
COMMENT 'Hardware by replica, device, metric and minute';

CREATE VIEW IF NOT EXISTS engines {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    metric String COMMENT 'Metric, named with its unit: engine_running_requests, engine_generated_tokens_per_second ...: choose one',
    minute DateTime('UTC') COMMENT 'Start of the minute',
    samples UInt64 COMMENT 'Samples in the minute',
    sum Float64 COMMENT 'Sum of the samples; sum(sum) / sum(samples) is the mean of any rows',
    mean Float64 COMMENT 'Mean of the samples of the minute',
    min Float64 COMMENT 'Smallest sample',
    max Float64 COMMENT 'Largest sample'
)
AS SELECT namespace, endpoint, replica_id, metric, window_start AS minute, samples, sum, sum / samples AS mean, min, max
FROM engine_minutes FINAL
WHERE replica_id != '' AND window_start < (SELECT argMax(rolled_to, version) FROM rollups WHERE target = 'engine_minutes')
UNION ALL
SELECT namespace, endpoint, replica_id, metric, toStartOfMinute(window_start) AS minute,
    sum(w.samples) AS samples, sum(w.sum) AS sum, sum(w.sum) / sum(w.samples) AS mean, min(w.min) AS min, max(w.max) AS max
FROM engine_windows AS w FINAL
WHERE window_start >= (SELECT argMax(rolled_to, version) FROM rollups WHERE target = 'engine_minutes')
GROUP BY namespace, endpoint, replica_id, metric, minute
COMMENT 'Serving engines by replica, metric and minute';

CREATE VIEW IF NOT EXISTS losses {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica',
    boot_id String COMMENT 'One start of the replica''s agent',
    stream String COMMENT 'Topic: requests, hardware or engine',
    first_at DateTime64(6, 'UTC') COMMENT 'Start of the boot: what is lost was lost after it',
    last_at DateTime64(6, 'UTC') COMMENT 'The boot''s newest report: what is lost was lost before it',
    reason String COMMENT 'Why: the agent''s own reason, or missing for batches that never arrived (they may be late)',
    requests UInt64 COMMENT 'Requests that were lost for this reason',
    batches UInt64 COMMENT 'Batches of the stream that did not arrive'
)
AS SELECT namespace, endpoint, replica_id, boot_id, stream, first_at, last_at, lost.1 AS reason, lost.2 AS requests, lost.3 AS batches
FROM
(
    -- The rules of pipeline/store/loss_counts.py.
    SELECT namespace, endpoint, replica_id, boot_id, stream, first_at, last_at,
        arrayFilter((reason, count) -> count > 0, dropped_batch_reasons, dropped_batch_counts) AS given_up,
        arrayConcat(
            arrayFilter(lost -> lost.2 > 0, arrayMap((reason, count) -> (reason, count, toUInt64(0)), dropped_reasons, dropped_counts)),
            if(missing = 0, [],
                [(multiIf(length(given_up) = 1, given_up[1], empty(given_up), 'missing', 'several'),
                    toUInt64(greatest(toInt64(agent_arrived) - toInt64(arrived), 0)), missing)])) AS all_lost
    FROM boots FINAL
)
ARRAY JOIN all_lost AS lost
COMMENT 'What was lost on the way, by boot and reason: requests that agents could not record, and batches that never arrived';
