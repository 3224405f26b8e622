-- What an autoscaler reads: the load of an endpoint's replicas in the last seconds.
--
-- Silence is judged by how far each partition was read (pipeline/store/presence.py): a replica is silent if its partitions
-- were read steadily to more than 10 s beyond its last report. If they were not read to within 10 s of now, the replica's
-- state and its endpoint's load are unknown. What was alive when reading stopped is unknown afterwards, however long the
-- pause was, until agents had the time to report again; what was silent by then has failed.
--
-- The views that end in `_at` take the time as a parameter; the others describe now. The 20 s of an agent's requests (60 s
-- of a replica's hardware) end at its newest report, so that neither the pipeline's latency nor a clock that is a few
-- seconds off shortens them. The oldest 10 s window counts with the share that lies within these seconds.

-- Rows are (end of the window, reported length, pending, streaming), one for each chunk of a window.
CREATE VIEW IF NOT EXISTS agent_levels_at {on_cluster}
AS SELECT namespace, endpoint, replica_id, boot_id,
    max(toInt64(toUnixTimestamp(window_start)) * 1000000 + covered_to_us) AS reported_us,
    groupArray((
        (toInt64(toUnixTimestamp(window_start)) + 10) * 1000000,
        toInt64(covered_to_us) - covered_from_us,
        pending_request_us,
        streaming_request_us)) AS rows,
    arrayMap(row -> least(1., greatest(0., (row.1 - reported_us + 20000000) / 10000000)), rows) AS shares,
    arraySum((row, share) -> share * row.2, rows, shares) AS covered_us,
    arraySum((row, share) -> share * row.3, rows, shares) / covered_us AS pending,
    arraySum((row, share) -> share * row.4, rows, shares) / covered_us AS streaming
FROM request_windows FINAL
WHERE window_start >= toDateTime({at:DateTime64(3, 'UTC')}, 'UTC') - INTERVAL 90 SECOND AND covered_to_us > covered_from_us
GROUP BY namespace, endpoint, replica_id, boot_id
COMMENT 'Time-weighted means of pending and streaming requests over the last 20 s that each agent reported';

-- Rows are (end of the window, sum, samples), one for each chunk and device of a window, each of its newest version
-- (several times as fast as FINAL for many endpoints at once).
CREATE VIEW IF NOT EXISTS replica_hardware_at {on_cluster}
AS SELECT namespace, endpoint, replica_id, metric,
    max(newest_us) AS reported_us,
    groupArray((end_us, total, count)) AS rows,
    arrayMap(row -> least(1., greatest(0., (row.1 - reported_us + 60000000) / 10000000)), rows) AS shares,
    arraySum((row, share) -> share * row.2, rows, shares)
        / arraySum((row, share) -> share * row.3, rows, shares) AS mean
FROM
(
    SELECT namespace, endpoint, replica_id, metric,
        (toInt64(toUnixTimestamp(window_start)) + 10) * 1000000 AS end_us,
        toUnixTimestamp64Micro(last_at) AS newest_us,
        sum AS total, toFloat64(samples) AS count
    FROM hardware_windows FINAL
    WHERE window_start >= toDateTime({at:DateTime64(3, 'UTC')}, 'UTC') - INTERVAL 130 SECOND
        AND metric IN ('cpu_percent', 'memory_used_bytes', 'memory_limit_bytes', 'gpu_percent',
            'gpu_memory_used_bytes', 'gpu_memory_total_bytes')
)
GROUP BY namespace, endpoint, replica_id, metric
COMMENT 'Means over the last 60 s that each replica reported, of all its devices together';

CREATE VIEW IF NOT EXISTS replica_signals_at {on_cluster}
AS
WITH
    (
        SELECT mapFromArrays(groupArray(place), groupArray((stored_to, steady, stopped)))
        FROM
        (
            SELECT concat(stream, '/', toString(partition)) AS place, max(read_to) AS stored_to, argMax(steady_since, read_to) AS steady,
                argMax(stopped_at, read_to) AS stopped
            FROM partition_progress
            GROUP BY place
        )
    ) AS reached,
    agents AS
    (
        SELECT namespace, endpoint, replica_id, boot_id,
            max(heard) AS append, argMax(heard_by, heard) AS append_place, max(hardware_heard) AS hardware_append,
            reached[argMax(requests_by, requests_heard)] AS requests_reached, requests_reached.1 AS requests_read_to,
            max(requests_heard) > toDateTime64(0, 3, 'UTC')
                AND max(requests_heard) >= least({at:DateTime64(3, 'UTC')}, requests_read_to) - INTERVAL 10 SECOND AS lives,
            lives AND max(reported_us) >= toUnixTimestamp64Micro({at:DateTime64(3, 'UTC')}) - 60000000
                AND requests_read_to >= {at:DateTime64(3, 'UTC')} - INTERVAL 10 SECOND AS is_current,
            lives AND requests_read_to < {at:DateTime64(3, 'UTC')} - INTERVAL 10 SECOND AS is_late,
            -- It was alive when its partition stood still, and has not had the time to report again.
            max(requests_heard) > toDateTime64(0, 3, 'UTC') AND NOT lives
                AND requests_reached.2 >= least({at:DateTime64(3, 'UTC')}, requests_read_to) - INTERVAL 10 SECOND
                AND requests_reached.2 <= {at:DateTime64(3, 'UTC')} + INTERVAL 10 SECOND
                AND max(requests_heard) >= requests_reached.3 - INTERVAL 10 SECOND AS misses,
            max(pending) AS pending_mean, max(streaming) AS streaming_mean
        FROM
        (
            SELECT namespace, endpoint, replica_id, boot_id, max(last_append) AS heard,
                argMax(concat(stream, '/', toString(partition)), last_append) AS heard_by,
                maxIf(last_append, stream = 'requests') AS requests_heard,
                concat('requests/', toString(argMaxIf(partition, last_append, stream = 'requests'))) AS requests_by,
                maxIf(last_append, stream = 'hardware') AS hardware_heard,
                toInt64(0) AS reported_us, 0. AS pending, 0. AS streaming
            FROM boots
            WHERE last_append >= {at:DateTime64(3, 'UTC')} - INTERVAL 2 DAY
            GROUP BY namespace, endpoint, replica_id, boot_id
            UNION ALL
            SELECT namespace, endpoint, replica_id, boot_id, toDateTime64(0, 3, 'UTC'), '', toDateTime64(0, 3, 'UTC'), '',
                toDateTime64(0, 3, 'UTC'), reported_us, pending, streaming
            FROM agent_levels_at(at = {at:DateTime64(3, 'UTC')})
        )
        GROUP BY namespace, endpoint, replica_id, boot_id
    ),
    replicas AS
    (
        SELECT namespace, endpoint, replica_id,
            max(append) AS heard_at, argMax(append_place, append) AS heard_by, max(hardware_append) AS hardware_heard_at,
            sum(lives) AS live_agents, sum(is_current) AS current_agents, sum(is_late) AS late_agents,
            sum(misses) AS missing_agents,
            sum(pending) AS pending_sum, sum(streaming) AS streaming_sum,
            max(reported) AS last_state, max(reported_at) AS state_at, max(reported_by) AS state_by,
            max(cpu) AS cpu_mean, max(memory) AS memory_mean, max(gpu) AS gpu_mean, max(gpu_memory) AS gpu_memory_mean
        FROM
        (
            SELECT namespace, endpoint, replica_id, append, append_place, hardware_append, lives, is_current, is_late, misses,
                if(is_current, pending_mean, 0.) AS pending, if(is_current, streaming_mean, 0.) AS streaming,
                '' AS reported, toDateTime64(0, 6, 'UTC') AS reported_at, '' AS reported_by,
                CAST(NULL, 'Nullable(Float64)') AS cpu, CAST(NULL, 'Nullable(Float64)') AS memory,
                CAST(NULL, 'Nullable(Float64)') AS gpu, CAST(NULL, 'Nullable(Float64)') AS gpu_memory
            FROM agents
            UNION ALL
            -- The state reported last. After a week without another one, only the agent's reports count.
            SELECT namespace, endpoint, replica_id, toDateTime64(0, 3, 'UTC'), '', toDateTime64(0, 3, 'UTC'), 0, 0, 0, 0, 0., 0.,
                toString(argMax(state, (at, offset))), max(at),
                concat('replicas/', toString(argMax(partition, (at, offset)))), NULL, NULL, NULL, NULL
            FROM replica_events
            WHERE at >= {at:DateTime64(3, 'UTC')} - INTERVAL 7 DAY
            GROUP BY namespace, endpoint, replica_id
            UNION ALL
            SELECT namespace, endpoint, replica_id, toDateTime64(0, 3, 'UTC'), '', toDateTime64(0, 3, 'UTC'), 0, 0, 0, 0, 0., 0.,
                '', toDateTime64(0, 6, 'UTC'), '',
                anyIf(mean, metric = 'cpu_percent') AS cpu,
                100 * anyIf(mean, metric = 'memory_used_bytes') / nullIf(anyIf(mean, metric = 'memory_limit_bytes'), 0)
                    AS memory,
                anyIf(mean, metric = 'gpu_percent') AS gpu,
                100 * anyIf(mean, metric = 'gpu_memory_used_bytes') / nullIf(anyIf(mean, metric = 'gpu_memory_total_bytes'), 0)
                    AS gpu_memory
            FROM (SELECT *, toNullable(mean) AS mean FROM replica_hardware_at(at = {at:DateTime64(3, 'UTC')}))
            WHERE reported_us >= toUnixTimestamp64Micro({at:DateTime64(3, 'UTC')}) - 60000000
            GROUP BY namespace, endpoint, replica_id
        )
        GROUP BY namespace, endpoint, replica_id
    ),
    -- How far the pipeline has read the replica's partitions.
    read AS
    (
        SELECT *,
            least(
                if(heard_by = '', toDateTime64('2299-01-01 00:00:00', 3, 'UTC'), greatest(reached[heard_by].1, heard_at)),
                if(state_by = '', toDateTime64('2299-01-01 00:00:00', 3, 'UTC'), reached[state_by].1)) AS read_to,
            least({at:DateTime64(3, 'UTC')}, read_to) AS moment,
            greatest(reached[heard_by].2, reached[state_by].2) AS steady_since,
            -- A time in the future comes from a clock that was ahead.
            steady_since >= moment - INTERVAL 10 SECOND AND steady_since <= {at:DateTime64(3, 'UTC')} + INTERVAL 10 SECOND
                AS has_resumed,
            -- If both have paused, the replica may have been alive until the first of them stopped.
            arrayFilter(place -> place.3 > toDateTime64(0, 3, 'UTC') AND place.2 >= moment - INTERVAL 10 SECOND
                AND place.2 <= {at:DateTime64(3, 'UTC')} + INTERVAL 10 SECOND,
                [reached[heard_by], reached[state_by]]) AS paused,
            if(empty(paused), toDateTime64(0, 3, 'UTC'), arrayMin(place -> place.3, paused)) AS stopped_at,
            -- A pause makes nobody depart: until agents had the time to report again, the replicas from before are present.
            if(has_resumed AND stopped_at > toDateTime64(0, 3, 'UTC'), least(stopped_at, moment), moment) AS judged_at
        FROM replicas
    ),
    -- What a state becomes when agents go silent: the rules of pipeline/store/presence.py.
    shown AS
    (
        SELECT *,
            greatest(heard_at, state_at) AS newest,
            last_state NOT IN ('', 'terminated', 'failed') AND (heard_at = toDateTime64(0, 3, 'UTC')
                OR (last_state IN ('pending', 'downloading', 'pulling', 'initializing') AND state_at > heard_at)) AS waits,
            read_to < {at:DateTime64(3, 'UTC')} - INTERVAL 10 SECOND AS late,
            replica_id != 'unassigned' AND NOT late AND NOT waits AND last_state IN ('', 'initializing', 'running', 'draining')
                AND newest < moment - INTERVAL 10 SECOND AS quiet,
            quiet AND (NOT has_resumed OR newest < stopped_at - INTERVAL 10 SECOND) AS silent,
            late OR (quiet AND NOT silent) AS unknown,
            hardware_heard_at >= {at:DateTime64(3, 'UTC')} - INTERVAL 10 SECOND AND NOT unknown AS is_measured,
            missing_agents > 0 AND last_state NOT IN ('terminated', 'failed') AS misses_agents,
            current_agents > 0 AND late_agents = 0 AND NOT misses_agents AND NOT unknown AS is_known
        FROM read
        WHERE newest >= judged_at - if(waits, INTERVAL 1 DAY, INTERVAL 5 MINUTE)
    )
SELECT namespace, endpoint, replica_id,
    multiIf(replica_id = 'unassigned', '', unknown, 'unknown', silent, 'failed', last_state = '', 'running', last_state)
        AS state,
    heard_at AS as_of, live_agents > 0 AS is_live, misses_agents AS is_missing, silent AS is_silent,
    if(unknown, toNullable(toDateTime64(if(late, read_to, newest + INTERVAL 10 SECOND), 3, 'UTC')), NULL) AS unknown_since,
    if(is_known, pending_sum, NULL) AS pending_requests,
    if(is_known, streaming_sum, NULL) AS streaming_requests,
    if(is_measured, cpu_mean, NULL) AS cpu_percent,
    if(is_measured, memory_mean, NULL) AS memory_percent,
    if(is_measured, gpu_mean, NULL) AS gpu_percent,
    if(is_measured, gpu_memory_mean, NULL) AS gpu_memory_percent
FROM shown AS replica
COMMENT 'Load of each replica at a given time: replica_signals_at(at = now64(3, ''UTC''))';

CREATE VIEW IF NOT EXISTS endpoint_signals_at {on_cluster}
AS
WITH
    replicas AS
    (
        SELECT *, state NOT IN ('draining', 'terminated', 'failed') AS is_here,
            is_here AND pending_requests IS NOT NULL AS counts
        FROM replica_signals_at(at = {at:DateTime64(3, 'UTC')})
    ),
    endpoints AS
    (
        SELECT namespace, endpoint, max(as_of) AS newest, min(unknown_since) AS unknown_from,
            unknown_from IS NULL AND newest >= {at:DateTime64(3, 'UTC')} - INTERVAL 5 SECOND AS is_fresh,
            countIf(state = 'running') AS running,
            countIf(state = 'running' AND is_live AND pending_requests IS NULL) AS late,
            countIf(is_silent) AS silent,
            if(is_fresh AND countIf(counts) > 0 AND countIf(is_here AND is_missing) = 0, if(running = 0, 1, running - late), 0)
                AS divisor,
            ifNull(sumIf(pending_requests, counts), 0) AS pending,
            ifNull(sumIf(pending_requests + streaming_requests, counts), 0) AS active,
            avgIf(cpu_percent, state = 'running') AS cpu, avgIf(memory_percent, state = 'running') AS memory,
            avgIf(gpu_percent, state = 'running') AS gpu, avgIf(gpu_memory_percent, state = 'running') AS gpu_memory
        FROM replicas
        GROUP BY namespace, endpoint
    )
SELECT namespace, endpoint, newest AS as_of,
    (toUnixTimestamp64Milli({at:DateTime64(3, 'UTC')}) - toUnixTimestamp64Milli(newest)) / 1000 AS age_seconds,
    unknown_from AS unknown_since,
    if(unknown_from IS NULL, running, NULL) AS running_replicas, late AS late_replicas, silent AS silent_replicas,
    if(divisor > 0, pending / divisor * greatest(running, 1), NULL) AS pending_requests,
    if(divisor > 0, pending / divisor, NULL) AS pending_per_replica,
    if(divisor > 0, active / divisor * greatest(running, 1), NULL) AS active_requests,
    if(divisor > 0, active / divisor, NULL) AS active_per_replica,
    if(is_fresh, cpu, NULL) AS cpu_percent, if(is_fresh, memory, NULL) AS memory_percent,
    if(is_fresh, gpu, NULL) AS gpu_percent, if(is_fresh, gpu_memory, NULL) AS gpu_memory_percent
FROM endpoints
WHERE newest > toDateTime64(0, 3, 'UTC')
COMMENT 'Load of each endpoint''s replicas at a given time: endpoint_signals_at(at = now64(3, ''UTC''))';

CREATE VIEW IF NOT EXISTS replica_signals {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    replica_id String COMMENT 'Replica; unassigned for requests held while no replica runs',
    state String COMMENT 'State of the replica; failed if its agent went silent; unknown while the pipeline is late; empty for unassigned',
    as_of DateTime64(3, 'UTC') COMMENT 'When the broker appended the newest message of its agents; 1970 if there is none',
    is_live UInt8 COMMENT '1 if an agent reported its requests within the last 10 s',
    is_missing UInt8 COMMENT '1 if one of its agents was alive before a pause of reading and has not reported again yet: what it holds is unknown',
    is_silent UInt8 COMMENT '1 if it counts as failed only because its agent is silent',
    unknown_since Nullable(DateTime64(3, 'UTC')) COMMENT 'Since when the replica''s state is unknown because the pipeline is late; NULL if it is known',
    pending_requests Nullable(Float64) COMMENT 'Time-weighted mean of pending requests over the last 20 s that its live agents reported; NULL if no agent is alive, one is missing, the pipeline is late, or the reports are older than 60 s',
    streaming_requests Nullable(Float64) COMMENT 'Like pending_requests, for streaming requests',
    cpu_percent Nullable(Float64) COMMENT 'Mean of the last 60 s; NULL if unknown',
    memory_percent Nullable(Float64) COMMENT 'Used share of its memory limit: mean of the last 60 s; NULL if unknown',
    gpu_percent Nullable(Float64) COMMENT 'Mean of the last 60 s over its GPUs; NULL if unknown',
    gpu_memory_percent Nullable(Float64) COMMENT 'Used share of the memory of all its GPUs: mean of the last 60 s; NULL if unknown'
)
AS SELECT * FROM replica_signals_at(at = now64(3, 'UTC')) AS now
COMMENT 'Load of each replica in the last seconds, for autoscaling';

CREATE VIEW IF NOT EXISTS endpoint_signals {on_cluster}
(
    namespace String COMMENT 'Owner of the endpoint',
    endpoint String COMMENT 'Name of the endpoint',
    as_of DateTime64(3, 'UTC') COMMENT 'When the broker appended the newest message of any of the endpoint''s agents',
    age_seconds Float64 COMMENT 'Time since as_of; if it exceeds 5, all figures except the replica counts are NULL',
    unknown_since Nullable(DateTime64(3, 'UTC')) COMMENT 'Since when the pipeline is late for a replica of the endpoint, which makes all figures and running_replicas NULL; NULL if it is not late',
    running_replicas Nullable(UInt64) COMMENT 'Running replicas; NULL while unknown',
    late_replicas UInt64 COMMENT 'Running replicas whose agents are alive but whose figures are older than 60 s; the mean of the others is used for them',
    silent_replicas UInt64 COMMENT 'Replicas whose agents went silent within the last 5 minutes without reporting an end; they are not counted as running',
    pending_requests Nullable(Float64) COMMENT 'Requests pending at the endpoint, mean over 20 s: pending_per_replica times running_replicas (or 1)',
    pending_per_replica Nullable(Float64) COMMENT 'Mean over 20 s of the pending requests of unassigned and of all replicas that are not draining or ended, divided by the running replicas (by 1 if none runs); NULL if unknown',
    active_requests Nullable(Float64) COMMENT 'Like pending_requests, for pending and streaming requests together',
    active_per_replica Nullable(Float64) COMMENT 'Like pending_per_replica, for pending and streaming requests together',
    cpu_percent Nullable(Float64) COMMENT 'Mean of the last 60 s over the running replicas that report it',
    memory_percent Nullable(Float64) COMMENT 'Mean of the last 60 s over the running replicas that report it',
    gpu_percent Nullable(Float64) COMMENT 'Mean of the last 60 s over the running replicas that report it',
    gpu_memory_percent Nullable(Float64) COMMENT 'Mean of the last 60 s over the running replicas that report it'
)
AS SELECT * FROM endpoint_signals_at(at = now64(3, 'UTC')) AS now
COMMENT 'Load of each endpoint''s replicas in the last seconds, for autoscaling';
