"""The Grafana dashboard on ClickHouse: its panels and their SQL, with the macros of Grafana's ClickHouse data source.

It reads the views that docs/sql.md describes. `<scope>` stands for the chosen endpoint and replicas, and `<range>` for
those in the chosen time.

The account of analysts has four queries at a time, and sixteen that wait: so no more panels are open from the start.
"""

from __future__ import annotations

from endpoint_analytics.infra.deploy.monitoring.grafana import Dashboard, Panel, Query, Row, Variable
from endpoint_analytics.infra.deploy.monitoring.states import (
    CLASS_COLOURS,
    QUANTILE_COLOURS,
    STATE_COLOURS,
)
from endpoint_analytics.schemas.replicas import STATES

ENDPOINT = "namespace = ${namespace:singlequote} AND endpoint = ${endpoint:singlequote}"
SCOPE = f"{ENDPOINT} AND $__conditionalAll(replica_id IN (${{replica:singlequote}}), $replica)"
RANGE = f"{SCOPE} AND $__timeFilter(window_start)"
STATE_NUMBER = "indexOf([{}], state) - 1".format(", ".join(f"'{state}'" for state in STATES))
PLACEHOLDERS = {
    "endpoint": ENDPOINT,
    "range": RANGE,
    "scope": SCOPE,
    "state number": STATE_NUMBER,
    "time": "$__timeInterval(window_start) AS time",
}


def _query(text: str, *, is_instant: bool = False, **names: str) -> Query:
    """Return a query with its placeholders filled in: `<time>`, `<range>` ..., and those of `names`."""
    for name, value in (names | PLACEHOLDERS).items():
        text = text.replace(f"<{name}>", value)
    return Query(text.strip(), is_instant=is_instant)


def _table(text: str) -> Query:
    return _query(text, is_instant=True)


def _quantiles(sketch: str) -> Query:
    return _query(
        """
SELECT time, sketchQuantile(sketch.1, sketch.2, 0.5) / 1e6 AS p50, sketchQuantile(sketch.1, sketch.2, 0.9) / 1e6 AS p90,
    sketchQuantile(sketch.1, sketch.2, 0.95) / 1e6 AS p95, sketchQuantile(sketch.1, sketch.2, 0.99) / 1e6 AS p99
FROM
(
    SELECT <time>, sumMap(<sketch>.1, <sketch>.2) AS sketch
    FROM requests_10s
    WHERE <range>
    GROUP BY time
    HAVING notEmpty(sketch.2)
)
ORDER BY time""",
        sketch=sketch,
    )


def _quantile_by_replica(sketch: str) -> Query:
    return _query(
        """
SELECT time, replica_id, sketchQuantile(sketch.1, sketch.2, 0.95) / 1e6 AS p95
FROM
(
    SELECT <time>, replica_id, sumMap(<sketch>.1, <sketch>.2) AS sketch
    FROM requests_10s
    WHERE <range>
    GROUP BY time, replica_id
    HAVING notEmpty(sketch.2)
)
ORDER BY time, replica_id""",
        sketch=sketch,
    )


def _samples(view: str, metric: str) -> Query:
    """Return the mean of a metric's samples, and the highest."""
    return _query(
        """
SELECT <time>, sum(mean * samples) / sum(samples) AS mean, max(max) AS highest
FROM <view>
WHERE <range> AND metric = '<metric>'
GROUP BY time
ORDER BY time""",
        view=view,
        metric=metric,
    )


def _share_of_memory(used: str, total: str) -> Query:
    return _query(
        """
SELECT <time>, avg(used / total) AS mean, max(used / total) AS highest
FROM
(
    SELECT window_start, replica_id, device,
        maxIf(mean, metric = '<used>') AS used, maxIf(mean, metric = '<total>') AS total
    FROM hardware_10s
    WHERE <range> AND metric IN ('<used>', '<total>')
    GROUP BY window_start, replica_id, device
    HAVING total > 0
)
GROUP BY time
ORDER BY time""",
        used=used,
        total=total,
    )


NOW = Row(
    "Now",
    (
        Panel(
            "Running replicas",
            "Replicas in the state running now. Unknown while the pipeline is more than 10 s behind.",
            (_table("SELECT running_replicas FROM endpoint_signals WHERE <endpoint>"),),
            kind="stat", width=4, height=4,
        ),
        Panel(
            "Pending per replica",
            "Requests without a status for each running replica (for 1 if none runs), mean of the last 20 s.",
            (_table("SELECT pending_per_replica FROM endpoint_signals WHERE <endpoint>"),),
            kind="stat", width=4, height=4,
        ),
        Panel(
            "Age of the newest data",
            "Time since the broker received the newest message of any agent of the endpoint.",
            (_table("SELECT age_seconds FROM endpoint_signals WHERE <endpoint>"),),
            unit="s", kind="stat", width=4, height=4, thresholds=((15, "orange"), (60, "red")),
        ),
        Panel(
            "Requests",
            "Requests of the chosen replicas that got a final status in the chosen time (1xx are not final).",
            (
                _table(
                    "SELECT sum(times) AS requests FROM requests_10s ARRAY JOIN status.1 AS code, status.2 AS times "
                    "WHERE <range> AND code >= 200"
                ),
            ),
            kind="stat", width=4, height=4,
        ),
        Panel(
            "Error share",
            "Share of 5xx among the requests that got a final status in the chosen time.",
            (
                _table(
                    "SELECT sumIf(times, code >= 500) / nullIf(sum(times), 0) AS share FROM requests_10s "
                    "ARRAY JOIN status.1 AS code, status.2 AS times WHERE <range> AND code >= 200"
                ),
            ),
            unit="percentunit", kind="stat", width=4, height=4, thresholds=((0.01, "orange"), (0.05, "red")),
        ),
        Panel(
            "Latency, p95",
            "95 % of the requests of the chosen time took at most this long, from arrival to their last byte.",
            (
                _table(
                    "SELECT sketchQuantile(sketch.1, sketch.2, 0.95) / 1e6 AS p95 "
                    "FROM (SELECT sumMap(latency.1, latency.2) AS sketch FROM requests_10s WHERE <range>)"
                ),
            ),
            unit="s", kind="stat", width=4, height=4,
        ),
    ),
)  # fmt: skip

REQUESTS = Row(
    "Requests",
    (
        Panel(
            "Requests by class of status",
            "Requests per second, at the moment that their HTTP status was sent. 1xx come in addition to the "
            "final status.",
            (
                _query("""
SELECT <time>, concat(toString(intDiv(code, 100)), 'xx') AS class, sum(times) / $__interval_s AS requests
FROM requests_10s
ARRAY JOIN status.1 AS code, status.2 AS times
WHERE <range>
GROUP BY time, class
ORDER BY time, class"""),
            ),
            unit="reqps", width=12, is_stacked=True, colours=CLASS_COLOURS, series_name="${__field.labels.class}",
        ),
        Panel(
            "Share of errors",
            "Among the requests that got a final status: 5xx, and 4xx. A gap means that there were no requests.",
            (
                _query("""
SELECT <time>, sumIf(times, code >= 500) / sum(times) AS "5xx",
    sumIf(times, code BETWEEN 400 AND 499) / sum(times) AS "4xx"
FROM requests_10s
ARRAY JOIN status.1 AS code, status.2 AS times
WHERE <range> AND code >= 200
GROUP BY time
ORDER BY time"""),
            ),
            unit="percentunit", width=12, colours=CLASS_COLOURS[3:],
        ),
        Panel(
            "Pending, streaming and active",
            "Pending: arrived, no HTTP status yet. Streaming: status sent, last byte not yet. Active: both. "
            "Time-weighted means, over the sum of the chosen replicas.",
            (
                _query("""
SELECT <time>, avg(p) AS pending, avg(s) AS streaming, avg(p + s) AS active
FROM
(
    SELECT window_start, sum(pending_mean) AS p, sum(streaming_mean) AS s
    FROM requests_10s
    WHERE <range>
    GROUP BY window_start
)
GROUP BY time
ORDER BY time"""),
            ),
            colours=(("pending", "orange"), ("streaming", "purple"), ("active", "blue")),
        ),
        Panel(
            "Oldest pending request",
            "Age of the request that waited longest for its status, on any chosen replica.",
            (
                _query(
                    "SELECT <time>, max(oldest_pending_seconds) AS oldest FROM requests_10s WHERE <range> "
                    "GROUP BY time ORDER BY time"
                ),
            ),
            unit="s",
        ),
        Panel(
            "Requests that ended early",
            "Requests per second whose client left or whose connection or replica broke: before a status "
            "(pending) or after it (streaming).",
            (
                _query(
                    "SELECT <time>, sum(aborted_pending) / $__interval_s AS pending, "
                    "sum(aborted_streaming) / $__interval_s AS streaming FROM requests_10s WHERE <range> "
                    "GROUP BY time ORDER BY time"
                ),
            ),
            unit="reqps", colours=(("pending", "orange"), ("streaming", "purple")),
        ),
    ),
)  # fmt: skip

LATENCY = Row(
    "Latency",
    (
        Panel(
            "Latency",
            "From arrival to the last byte, of the merged sketches of the chosen replicas: quantiles are never "
            "averaged. Within 0.55 %.",
            (_quantiles("latency"),),
            unit="s", width=12, height=9, colours=QUANTILE_COLOURS[:4],
        ),
        Panel(
            "Time to first byte",
            "From arrival to the HTTP status being sent, in the same way.",
            (_quantiles("ttfb"),),
            unit="s", width=12, height=9, colours=QUANTILE_COLOURS[:4],
        ),
        Panel(
            "Latency p95 by replica",
            "95 % of the requests of the replica took at most this long.",
            (_quantile_by_replica("latency"),),
            unit="s", width=12, series_name="${__field.labels.replica_id}",
        ),
        Panel(
            "Time to first byte p95 by replica",
            "95 % of the requests of the replica got their status within this time.",
            (_quantile_by_replica("ttfb"),),
            unit="s", width=12, series_name="${__field.labels.replica_id}",
        ),
    ),
)  # fmt: skip

REPLICAS_ROW = Row(
    "Replicas",
    (
        Panel(
            "State of each replica",
            "One bar for each replica, in the colour of its last reported state.",
            (
                _query("""
SELECT time, replica_id, argMax(<state number>, entered_at) AS state_number
FROM
(
    SELECT $__fromTime + toIntervalSecond(number * $__interval_s) AS time
    FROM numbers(toUInt64(ceil(dateDiff('second', $__fromTime, $__toTime) / $__interval_s)))
) AS moments
CROSS JOIN (SELECT * FROM replica_timeline WHERE <scope>) AS timeline
WHERE entered_at <= time AND (left_at IS NULL OR left_at > time)
GROUP BY time, replica_id
ORDER BY time, replica_id"""),
            ),
            kind="state-timeline", width=16, height=9, states=STATE_COLOURS, series_name="${__field.labels.replica_id}",
        ),
        Panel(
            "Time to ready",
            "From the first state of each start of a replica to running, of the starts that became ready in the "
            "chosen time. A name may start again after its end. Unknown if the first state is running.",
            (
                _table("""
SELECT replica_id AS replica, minIf(entered_at, state = 'running') AS ready_at,
    nullIf(dateDiff('millisecond', min(entered_at), ready_at) / 1000, 0) AS seconds
FROM
(
    SELECT namespace, endpoint, replica_id, state, entered_at,
        countIf(state IN ('terminated', 'failed')) OVER (PARTITION BY namespace, endpoint, replica_id
            ORDER BY entered_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS ends_before
    FROM replica_timeline
    WHERE <scope>
)
GROUP BY namespace, endpoint, replica_id, ends_before
HAVING countIf(state = 'running') > 0 AND $__timeFilter(ready_at)
ORDER BY ready_at DESC"""),
            ),
            kind="table", height=9, units=(("seconds", "s"),),
        ),
        Panel(
            "Where that time goes",
            "Mean and longest time that replicas spent in each state that they left in the chosen time.",
            (
                _table("""
SELECT state, count() AS times, avg(seconds) AS mean, max(seconds) AS longest
FROM replica_timeline
WHERE <scope> AND left_at IS NOT NULL AND $__timeFilter(left_at)
GROUP BY state
ORDER BY mean DESC"""),
            ),
            kind="table", units=(("mean", "s"), ("longest", "s")),
        ),
        Panel(
            "Replicas now",
            "What autoscalers see of each replica: its state, requests over the last 20 s, hardware over the last "
            "minute. Empty cells are unknown.",
            (
                _table("""
SELECT replica_id AS replica, state, pending_requests AS pending, streaming_requests AS streaming, cpu_percent AS "CPU",
    memory_percent AS memory, gpu_percent AS "GPU", gpu_memory_percent AS "GPU memory"
FROM replica_signals
WHERE <scope>
ORDER BY replica_id"""),
            ),
            kind="table", width=16,
            units=(("CPU", "percent"), ("memory", "percent"), ("GPU", "percent"), ("GPU memory", "percent")),
        ),
    ),
)  # fmt: skip

COMPUTE = Row(
    "Compute",
    (
        Panel(
            "CPU",
            "CPU time over the cores that the replica may use: mean of the chosen replicas, and the highest sample.",
            (_samples("hardware_10s", "cpu_percent"),),
            unit="percent", maximum=100,
        ),
        Panel(
            "Memory",
            "Memory without page cache, as a share of the limit.",
            (_share_of_memory("memory_used_bytes", "memory_limit_bytes"),),
            unit="percentunit", maximum=1,
        ),
        Panel(
            "GPU",
            "Share of time in which a kernel ran: mean of all GPUs of the chosen replicas, and the highest sample.",
            (_samples("hardware_10s", "gpu_percent"),),
            unit="percent", maximum=100,
        ),
        Panel(
            "GPU memory",
            "Used share of the memory of each GPU: mean and highest.",
            (_share_of_memory("gpu_memory_used_bytes", "gpu_memory_total_bytes"),),
            unit="percentunit", maximum=1,
        ),
        Panel(
            "CPU held back",
            "Share of the scheduler's periods in which the quota held the replica back.",
            (_samples("hardware_10s", "cpu_throttled_ratio"),),
            unit="percentunit", maximum=1,
        ),
        Panel(
            "Killed for lack of memory",
            "Processes of each replica that the kernel killed in the chosen time.",
            (
                _table("""
SELECT replica_id AS replica, sum(grown) AS killed
FROM
(
    SELECT
        replica_id,
        lagInFrame(toNullable(max)) OVER (PARTITION BY replica_id ORDER BY window_start
            ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before,
        multiIf(before IS NULL, 0, max >= before, max - before, max) AS grown
    FROM hardware_10s
    WHERE <range> AND metric = 'oom_kills'
)
GROUP BY replica_id
HAVING killed > 0
ORDER BY killed DESC"""),
            ),
            kind="table",
        ),
    ),
    is_folded=True,
)  # fmt: skip

ENGINE = Row(
    "Serving engine",
    (
        Panel(
            "Requests in the engine",
            "Requests that the serving engines process, and those in their queues: sums of the chosen replicas' "
            "means.",
            (
                _query("""
SELECT <time>, avg(r) AS running, avg(w) AS waiting
FROM
(
    SELECT window_start, sumIf(mean, metric = 'engine_running_requests') AS r,
        sumIf(mean, metric = 'engine_waiting_requests') AS w
    FROM engine_10s
    WHERE <range> AND metric IN ('engine_running_requests', 'engine_waiting_requests')
    GROUP BY window_start
)
GROUP BY time
ORDER BY time"""),
            ),
            colours=(("running", "green"), ("waiting", "orange")),
        ),
        Panel(
            "Key-value cache",
            "Share of the engine's key-value cache in use: mean of the chosen replicas, and the highest sample.",
            (_samples("engine_10s", "engine_kv_cache_percent"),),
            unit="percent", maximum=100,
        ),
        Panel(
            "Tokens",
            "Tokens per second: prompts processed, the part of them found in the prefix cache, and generated.",
            (
                _query("""
SELECT <time>, avg(p) AS prompt, avg(c) AS "prompt, cached", avg(g) AS generated
FROM
(
    SELECT window_start, sumIf(mean, metric = 'engine_prompt_tokens_per_second') AS p,
        sumIf(mean, metric = 'engine_cached_prompt_tokens_per_second') AS c,
        sumIf(mean, metric = 'engine_generated_tokens_per_second') AS g
    FROM engine_10s
    WHERE <range> AND endsWith(metric, '_tokens_per_second')
    GROUP BY window_start
)
GROUP BY time
ORDER BY time"""),
            ),
            unit="cps", colours=(("prompt", "blue"), ("prompt, cached", "sky"), ("generated", "green")),
        ),
    ),
    is_folded=True,
)  # fmt: skip

LOSSES = Row(
    "Losses and freshness",
    (
        Panel(
            "Losses by replica and process",
            "What is missing from all figures, for the lifetime of each process of an agent: batches that never "
            "arrived, the requests that they contained, and requests that the agent could not record.",
            (
                _table("""
SELECT replica_id AS replica, boot_id AS process, missing AS batches_missing,
    greatest(toInt64(agent_arrived) - toInt64(arrived), 0) AS requests_missing,
    arraySum(dropped_counts) AS requests_dropped, last_at AS newest_data
FROM boots FINAL
WHERE <scope> AND stream = 'requests' AND (missing > 0 OR notEmpty(dropped_counts) OR notEmpty(dropped_batch_counts))
    AND last_at >= $__fromTime AND first_at <= $__toTime
ORDER BY last_at DESC
LIMIT 200"""),
            ),
            kind="table", width=12,
        ),
        Panel(
            "Rejected messages",
            "Messages of any endpoint that could not be used, with the newest example of each reason.",
            (
                _table("""
SELECT topic, reason, count() AS messages, max(append_time) AS newest, argMax(detail, append_time) AS example
FROM rejected FINAL
WHERE $__timeFilter(append_time)
GROUP BY topic, reason
ORDER BY messages DESC"""),
            ),
            kind="table", width=12,
        ),
        Panel(
            "How far the pipeline has read",
            "Everything that agents sent before this time is stored, by stream; and messages of the log that are "
            "not read yet. A partition that nobody read for 90 days is gone.",
            (
                _table("""
SELECT stream, dateDiff('millisecond', min(read_to), now64(3)) / 1000 AS behind,
    sum(end_offset - next_offset) AS messages
FROM partition_progress FINAL
WHERE read_to >= (SELECT least(max(read_to), now64(3)) FROM partition_progress) - INTERVAL 90 DAY
GROUP BY stream
ORDER BY stream"""),
            ),
            kind="table", width=12, units=(("behind", "s"),),
        ),
        Panel(
            "Paused partitions",
            "Partitions that the worker does not read on, because nearly all their messages are unusable.",
            (
                _table("""
SELECT stream, partition, since, reason
FROM paused_partitions FINAL
WHERE paused
ORDER BY stream, partition"""),
            ),
            kind="table", width=12,
        ),
    ),
    is_folded=True,
)  # fmt: skip

_KNOWN = "(SELECT {0} FROM boots{1} UNION DISTINCT SELECT {0} FROM replica_events{1})"


def _variable(name: str, label: str, where: str = "", *, has_all: bool = False) -> Variable:
    column = "replica_id" if name == "replica" else name
    source = _KNOWN.format(column, f" WHERE {where}" if where else "")
    query = {
        "editorType": "sql",
        "queryType": "table",
        "rawSql": f"SELECT {column} FROM {source} ORDER BY {column}",  # noqa: S608 - constants
    }
    return Variable(name, label, query, has_all=has_all)


CLICKHOUSE = Dashboard(
    uid="endpoint-analytics-clickhouse",
    title="Endpoint Analytics: one endpoint (ClickHouse)",
    description="Requests, latency, replicas, hardware and losses of one inference endpoint over the last 7 days, "
    "from the 10 s windows. docs/dashboards.md",
    source="grafana-clickhouse-datasource",
    variables=(
        _variable("namespace", "Namespace"),
        _variable("endpoint", "Endpoint", "namespace = ${namespace:singlequote}"),
        _variable("replica", "Replica", ENDPOINT, has_all=True),
    ),
    rows=(NOW, REQUESTS, LATENCY, REPLICAS_ROW, COMPUTE, ENGINE, LOSSES),
    query_fields={"editorType": "sql", "pluginVersion": "4.0.0"},
    text_field="rawSql",
    min_interval="10s",
)
