-- What was alive when reading stopped is unknown afterwards, however long the pause was, until agents had the time to report
-- again; what was silent by then has failed.

ALTER TABLE partition_progress {on_cluster}
    ADD COLUMN IF NOT EXISTS stopped_at DateTime64(3, 'UTC')
        COMMENT 'How far it was read before the last pause of more than 5 s, which ended at steady_since; 1970 if unknown'
        AFTER steady_since;

CREATE OR REPLACE VIEW replica_signals_at {on_cluster}
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
            reached[argMax(requests_by, requests_heard)].1 AS requests_read_to,
            max(requests_heard) >= least({at:DateTime64(3, 'UTC')}, requests_read_to) - INTERVAL 10 SECOND AS lives,
            lives AND max(reported_us) >= toUnixTimestamp64Micro({at:DateTime64(3, 'UTC')}) - 60000000
                AND requests_read_to >= {at:DateTime64(3, 'UTC')} - INTERVAL 10 SECOND AS is_current,
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
            sum(lives) AS live_agents, sum(is_current) AS current_agents,
            sum(pending) AS pending_sum, sum(streaming) AS streaming_sum,
            max(reported) AS last_state, max(reported_at) AS state_at, max(reported_by) AS state_by,
            max(cpu) AS cpu_mean, max(memory) AS memory_mean, max(gpu) AS gpu_mean, max(gpu_memory) AS gpu_memory_mean
        FROM
        (
            SELECT namespace, endpoint, replica_id, append, append_place, hardware_append, lives, is_current,
                if(is_current, pending_mean, 0.) AS pending, if(is_current, streaming_mean, 0.) AS streaming,
                '' AS reported, toDateTime64(0, 6, 'UTC') AS reported_at, '' AS reported_by,
                CAST(NULL, 'Nullable(Float64)') AS cpu, CAST(NULL, 'Nullable(Float64)') AS memory,
                CAST(NULL, 'Nullable(Float64)') AS gpu, CAST(NULL, 'Nullable(Float64)') AS gpu_memory
            FROM agents
            UNION ALL
            -- The state reported last. After a week without another one, only the agent's reports count.
            SELECT namespace, endpoint, replica_id, toDateTime64(0, 3, 'UTC'), '', toDateTime64(0, 3, 'UTC'), 0, 0, 0., 0.,
                toString(argMax(state, (at, offset))), max(at),
                concat('replicas/', toString(argMax(partition, (at, offset)))), NULL, NULL, NULL, NULL
            FROM replica_events
            WHERE at >= {at:DateTime64(3, 'UTC')} - INTERVAL 7 DAY
            GROUP BY namespace, endpoint, replica_id
            UNION ALL
            SELECT namespace, endpoint, replica_id, toDateTime64(0, 3, 'UTC'), '', toDateTime64(0, 3, 'UTC'), 0, 0, 0., 0.,
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
            greatest(reached[heard_by].2, reached[state_by].2) AS steady_since,
            if(reached[heard_by].2 >= reached[state_by].2, reached[heard_by].3, reached[state_by].3) AS stopped_at,
            least({at:DateTime64(3, 'UTC')}, read_to) AS moment,
            steady_since >= moment - INTERVAL 10 SECOND AS has_resumed,
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
            hardware_heard_at >= {at:DateTime64(3, 'UTC')} - INTERVAL 10 SECOND AND NOT unknown AS is_measured
        FROM read
        WHERE newest >= judged_at - if(waits, INTERVAL 1 DAY, INTERVAL 5 MINUTE)
    )
SELECT namespace, endpoint, replica_id,
    multiIf(replica_id = 'unassigned', '', unknown, 'unknown', silent, 'failed', last_state = '', 'running', last_state)
        AS state,
    heard_at AS as_of, live_agents > 0 AS is_live, silent AS is_silent,
    if(unknown, toNullable(toDateTime64(if(late, read_to, newest + INTERVAL 10 SECOND), 3, 'UTC')), NULL) AS unknown_since,
    if(current_agents > 0 AND NOT unknown, pending_sum, NULL) AS pending_requests,
    if(current_agents > 0 AND NOT unknown, streaming_sum, NULL) AS streaming_requests,
    if(is_measured, cpu_mean, NULL) AS cpu_percent,
    if(is_measured, memory_mean, NULL) AS memory_percent,
    if(is_measured, gpu_mean, NULL) AS gpu_percent,
    if(is_measured, gpu_memory_mean, NULL) AS gpu_memory_percent
FROM shown
COMMENT 'Load of each replica at a given time: replica_signals_at(at = now64(3, ''UTC''))';
