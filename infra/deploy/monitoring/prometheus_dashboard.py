"""The Grafana dashboard on Prometheus: its panels and their PromQL.

`<replicas>` and `<endpoints>` stand for the matchers of the chosen namespace, endpoints and replicas.
"""

from __future__ import annotations

from endpoint_analytics.infra.deploy.monitoring.grafana import Dashboard, Panel, Query, Row, Variable
from endpoint_analytics.infra.deploy.monitoring.states import (
    CLASS_COLOURS,
    QUANTILE_COLOURS,
    STARTING,
    STATE_COLOURS,
)
from endpoint_analytics.schemas.replicas import STATES

ENDPOINTS = 'endpoint_namespace=~"$namespace",endpoint_name=~"$endpoint"'
REPLICAS = f'{ENDPOINTS},replica_id=~"$replica"'
QUANTILES = ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"))
SUBQUERY_STEP_S = 15


def _query(text: str, legend: str = "", *, is_instant: bool = False) -> Query:
    return Query(
        text.replace("<replicas>", REPLICAS).replace("<endpoints>", ENDPOINTS), legend, is_instant=is_instant
    )


def _quantile(q: float, family: str, by: str = "") -> str:
    """Return a quantile over the sum of the chosen replicas: of native histograms, else of classic buckets."""
    rates = f"rate({family}{{<replicas>}}[$__rate_interval])"
    buckets = f"rate({family}_bucket{{<replicas>}}[$__rate_interval])"
    native = f"sum by ({by}) ({rates})" if by else f"sum({rates})"
    classic = f"sum by ({by}, le) ({buckets})" if by else f"sum by (le) ({buckets})"
    return f"histogram_quantile({q}, {native}) or histogram_quantile({q}, {classic})"


def _requests(operator: str, statuses: str, by: str = "") -> str:
    rates = f'(rate(http_requests_total{{<replicas>,status_code{operator}"{statuses}"}}[$__rate_interval]))'
    return f"sum by ({by}) {rates}" if by else f"sum{rates}"


def _share(statuses: str, by: str = "") -> str:
    """Return the share of some statuses among the final ones."""
    return f"{_requests('=~', statuses, by)} / {_requests('!~', '1..', by)}"


def _mean_and_highest(metric: str, factor: str = "") -> tuple[Query, ...]:
    values = f"{metric}{{<replicas>}}{factor}"
    return _query(f"avg({values})", "mean"), _query(f"max({values})", "highest")


def _share_of(used: str, total: str) -> str:
    return f"{used}{{<replicas>}} / {total}{{<replicas>}}"


_STATE_NUMBERS = " or ".join(
    f'{number} * (replica_state{{<replicas>,replica_state="{state}"}} == 1)'
    for number, state in enumerate(STATES)
)
_STARTING = f'replica_state{{<replicas>,replica_state=~"{"|".join(STARTING)}"}}'
_OF_ENDPOINT = "endpoint_namespace, endpoint_name"

NOW = Row(
    "Now",
    (
        Panel(
            "Requests",
            "Requests per second that got a final HTTP status (1xx are not final).",
            (_query(_requests("!~", "1..")),),
            unit="reqps", kind="stat", width=4, height=4,
        ),
        Panel(
            "Error share",
            "Share of 5xx among the requests that got a final status. Unknown if there were none.",
            (_query(_share("5..")),),
            unit="percentunit", kind="stat", width=4, height=4, thresholds=((0.01, "orange"), (0.05, "red")),
        ),
        Panel(
            "Latency, p95",
            "95 % of the requests took at most this long from arrival to their last byte, over all chosen replicas.",
            (_query(_quantile(0.95, "latency_seconds")),),
            unit="s", kind="stat", width=4, height=4,
        ),
        Panel(
            "Active requests",
            "Requests that have arrived and not ended: pending (no status yet) and streaming (status sent, not "
            "the end).",
            (_query("sum(active_requests{<replicas>})"),),
            kind="stat", width=4, height=4,
        ),
        Panel(
            "Running replicas",
            "Replicas in the state running, of all chosen endpoints. Unknown while the pipeline is more than 10 s "
            "behind.",
            (_query("sum(running_replicas{<endpoints>})"),),
            kind="stat", width=4, height=4,
        ),
        Panel(
            "Age of the newest data",
            "Time since the end of the newest stored interval of any chosen endpoint. It grows while no replica "
            "is alive.",
            (_query("time() - max(data_timestamp_seconds{<endpoints>})", is_instant=True),),
            unit="s", kind="stat", width=4, height=4, thresholds=((15, "orange"), (60, "red")),
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
                _query(
                    'sum by (class) (label_replace(rate(http_requests_total{<replicas>}[$__rate_interval]), '
                    '"class", "${1}xx", "status_code", "(.).."))',
                    "{{class}}",
                ),
            ),
            unit="reqps", width=12, is_stacked=True, colours=CLASS_COLOURS,
        ),
        Panel(
            "Share of errors",
            "Among the requests that got a final status: 5xx, and 4xx. A gap means that there were no requests.",
            (
                _query(_share("5.."), "5xx"),
                _query(_share("4.."), "4xx"),
            ),
            unit="percentunit", width=12, colours=CLASS_COLOURS[3:],
        ),
        Panel(
            "Requests by status",
            "Requests per second of each HTTP status.",
            (
                _query(
                    "sum by (status_code) (rate(http_requests_total{<replicas>}[$__rate_interval])) > 0",
                    "{{status_code}}",
                ),
            ),
            unit="reqps",
        ),
        Panel(
            "Share of errors by endpoint",
            "Share of 5xx among the requests that got a final status, of each endpoint.",
            (
                _query(_share("5..", _OF_ENDPOINT), "{{endpoint_namespace}}/{{endpoint_name}}"),
            ),
            unit="percentunit",
        ),
        Panel(
            "Requests that ended early",
            "Requests per second whose client left or whose connection or replica broke: before a status "
            "(pending) or after it (streaming).",
            (_query("sum by (stage) (rate(aborted_requests_total{<replicas>}[$__rate_interval]))", "{{stage}}"),),
            unit="reqps", colours=(("pending", "orange"), ("streaming", "purple")),
        ),
        Panel(
            "Pending, streaming and active",
            "Pending: arrived, no HTTP status yet. Streaming: status sent, last byte not yet. Active: both. "
            "Streaming servers send 200 early, so that only active shows how full they are.",
            (
                _query("sum(pending_requests{<replicas>})", "pending"),
                _query("sum(streaming_requests{<replicas>})", "streaming"),
                _query("sum(active_requests{<replicas>})", "active"),
            ),
            width=12, colours=(("pending", "orange"), ("streaming", "purple"), ("active", "blue")),
        ),
        Panel(
            "Oldest pending request",
            "Age of the request that has waited longest for its status, on any chosen replica.",
            (_query("max(oldest_pending_request_age_seconds{<replicas>})", "oldest"),),
            unit="s", width=12,
        ),
    ),
)  # fmt: skip

LATENCY = Row(
    "Latency",
    (
        Panel(
            "Latency",
            "From arrival to the last byte, over the sum of the chosen replicas: quantiles are never averaged. "
            "Within 1.1 %. The objective is that of the alerts, if their rules are loaded: 95 % of requests are "
            "to be faster.",
            (
                *(_query(_quantile(q, "latency_seconds"), name) for q, name in QUANTILES),
                _query("min(endpoint:latency_objective:seconds{<endpoints>})", "objective"),
            ),
            unit="s", width=12, height=9, colours=QUANTILE_COLOURS, dashed=("objective",),
        ),
        Panel(
            "Time to first byte",
            "From arrival to the HTTP status being sent, over the sum of the chosen replicas.",
            tuple(_query(_quantile(q, "time_to_first_byte_seconds"), name) for q, name in QUANTILES),
            unit="s", width=12, height=9, colours=QUANTILE_COLOURS[:4],
        ),
        Panel(
            "Latency p95 by endpoint",
            "95 % of the requests of the endpoint took at most this long.",
            (
                _query(
                    _quantile(0.95, "latency_seconds", _OF_ENDPOINT),
                    "{{endpoint_namespace}}/{{endpoint_name}}",
                ),
            ),
            unit="s", width=12,
        ),
        Panel(
            "Latency p95 of the ten slowest replicas",
            "95 % of the requests of the replica took at most this long: one slow replica among fast ones stands "
            "out.",
            (
                _query(
                    f'topk(10, {_quantile(0.95, "latency_seconds", "endpoint_name, replica_id")})',
                    "{{endpoint_name}} {{replica_id}}",
                ),
            ),
            unit="s", width=12,
        ),
    ),
)  # fmt: skip

REPLICAS_ROW = Row(
    "Replicas",
    (
        Panel(
            "Running replicas and their limits",
            "Replicas that run; those whose state is unknown because the pipeline is behind; the minimum and "
            "maximum settings as they were at each moment. Sums over the chosen endpoints.",
            (
                _query("sum(running_replicas{<endpoints>})", "running"),
                _query("sum(unknown_replicas{<endpoints>})", "unknown"),
                _query("sum(min_replicas{<endpoints>})", "minimum"),
                _query("sum(max_replicas{<endpoints>})", "maximum"),
            ),
            width=12, dashed=("minimum", "maximum"),
            colours=(("running", "green"), ("unknown", "purple"), ("minimum", "grey"), ("maximum", "red")),
        ),
        Panel(
            "Replicas by state",
            "How many of the chosen replicas are in each state. A replica whose agent is silent for 10 s is "
            "failed, and leaves after five minutes.",
            (_query("sum by (replica_state) (replica_state{<replicas>})", "{{replica_state}}"),),
            width=12, is_stacked=True, colours=STATE_COLOURS,
        ),
        Panel(
            "State of each replica",
            "One bar for each replica, in the colour of its state. A gap means that the state was unknown.",
            (_query(f"max by (endpoint_name, replica_id) ({_STATE_NUMBERS})", "{{endpoint_name}} {{replica_id}}"),),
            kind="state-timeline", width=16, height=9, states=STATE_COLOURS,
        ),
        Panel(
            "Time to ready",
            f"Seconds of the chosen range that each replica spent in {', '.join(STARTING[:-1])} and {STARTING[-1]}, "
            f"to about {SUBQUERY_STEP_S} s. The ClickHouse dashboard has it exactly.",
            (
                _query(
                    f"sum by (endpoint_name, replica_id) (sum_over_time({_STARTING}[$__range:{SUBQUERY_STEP_S}s])) "
                    f"* {SUBQUERY_STEP_S} > 0",
                    is_instant=True,
                ),
            ),
            kind="table", width=8, height=9, units=(("Value", "s"),),
        ),
    ),
)  # fmt: skip

COMPUTE = Row(
    "Compute",
    (
        Panel(
            "CPU",
            "CPU time over the cores that the replica may use (its cgroup's quota, else the machine's): mean of "
            "the chosen replicas, and the highest.",
            _mean_and_highest("cpu_usage_percent"),
            unit="percent", maximum=100,
        ),
        Panel(
            "Memory",
            "Memory without page cache, as a share of the limit (the cgroup's, else the machine's).",
            (
                _query(f"avg({_share_of('memory_used_bytes', 'memory_limit_bytes')})", "mean"),
                _query(f"max({_share_of('memory_used_bytes', 'memory_limit_bytes')})", "highest"),
            ),
            unit="percentunit", maximum=1,
        ),
        Panel(
            "Memory used",
            "Memory without page cache of the chosen replicas together, and the sum of their limits.",
            (
                _query("sum(memory_used_bytes{<replicas>})", "used"),
                _query("sum(memory_limit_bytes{<replicas>})", "limit"),
            ),
            unit="bytes", dashed=("limit",), colours=(("used", "blue"), ("limit", "red")),
        ),
        Panel(
            "GPU",
            "Share of time in which a kernel ran on the GPU: mean of all GPUs of the chosen replicas, and the "
            "highest.",
            _mean_and_highest("gpu_usage_percent"),
            unit="percent", maximum=100,
        ),
        Panel(
            "GPU memory",
            "Used share of the memory of each GPU: mean and highest.",
            (
                _query(f"avg({_share_of('gpu_memory_used_bytes', 'gpu_memory_total_bytes')})", "mean"),
                _query(f"max({_share_of('gpu_memory_used_bytes', 'gpu_memory_total_bytes')})", "highest"),
            ),
            unit="percentunit", maximum=1,
        ),
        Panel(
            "GPU power",
            "Power draw of all GPUs of the chosen replicas together.",
            (_query("sum(gpu_power_watts{<replicas>})", "power"),),
            unit="watt",
        ),
        Panel(
            "GPU temperature",
            "Mean and highest temperature of the GPUs.",
            _mean_and_highest("gpu_temperature_celsius"),
            unit="celsius",
        ),
        Panel(
            "Held back",
            "CPU: share of scheduler periods limited by the quota. GPU: share of GPUs whose clocks heat, power or "
            "a fault holds down.",
            (
                _query("avg(cpu_throttled_ratio{<replicas>})", "CPU"),
                _query("avg(gpu_throttled_ratio{<replicas>})", "GPU"),
            ),
            unit="percentunit", maximum=1, colours=(("CPU", "blue"), ("GPU", "orange")),
        ),
        Panel(
            "Out of memory, and GPU errors",
            "Processes that the kernel killed for lack of memory, memory errors of GPUs that could not be "
            "corrected, and critical errors (XID) of their driver, in each interval.",
            (
                _query("sum(increase(oom_kills_total{<replicas>}[$__rate_interval]))", "killed"),
                _query(
                    "sum(increase(gpu_ecc_uncorrected_errors_total{<replicas>}[$__rate_interval]))", "memory errors"
                ),
                _query("sum(increase(gpu_xid_errors_total{<replicas>}[$__rate_interval]))", "XID"),
            ),
            colours=(("killed", "red"), ("memory errors", "orange"), ("XID", "purple")),
        ),
    ),
)  # fmt: skip

ENGINE = Row(
    "Serving engine",
    (
        Panel(
            "Requests in the engine",
            "Requests that the serving engines (vLLM, TGI, Triton ...) process, and those in their queues.",
            (
                _query("sum(engine_running_requests{<replicas>})", "running"),
                _query("sum(engine_waiting_requests{<replicas>})", "waiting"),
            ),
            colours=(("running", "green"), ("waiting", "orange")),
        ),
        Panel(
            "Key-value cache",
            "Share of the engine's key-value cache in use: mean of the chosen replicas, and the highest. Near 100 "
            "% requests wait or start over.",
            _mean_and_highest("engine_kv_cache_percent"),
            unit="percent", maximum=100,
        ),
        Panel(
            "Tokens",
            "Tokens per second: prompts processed, the part of them found in the prefix cache, and generated.",
            (
                _query("sum(engine_prompt_tokens_per_second{<replicas>})", "prompt"),
                _query("sum(engine_cached_prompt_tokens_per_second{<replicas>})", "prompt, cached"),
                _query("sum(engine_generated_tokens_per_second{<replicas>})", "generated"),
            ),
            unit="cps", colours=(("prompt", "blue"), ("prompt, cached", "sky"), ("generated", "green")),
        ),
        Panel(
            "Requests through the engine",
            "Requests per second that the engines finished, and that failed in them.",
            (
                _query("sum(engine_finished_requests_per_second{<replicas>})", "finished"),
                _query("sum(engine_failed_requests_per_second{<replicas>})", "failed"),
            ),
            unit="reqps", width=12, colours=(("finished", "green"), ("failed", "red")),
        ),
        Panel(
            "Preemptions",
            "Requests per second that lost their place in the key-value cache and start over.",
            (_query("sum(engine_preemptions_per_second{<replicas>})", "preemptions"),),
            unit="ops", width=12,
        ),
    ),
)  # fmt: skip

LOSSES = Row(
    "Losses and freshness",
    (
        Panel(
            "Requests missing from all figures",
            "Requests that an agent could not record, or whose batch was lost, by reason, in each interval.",
            (_query("sum by (reason) (increase(dropped_requests_total{<replicas>}[$__rate_interval]))", "{{reason}}"),),
            is_stacked=True,
        ),
        Panel(
            "Missing batches",
            "Batches that never arrived, by the gaps in their numbers. It falls when one arrives late.",
            (_query("sum by (stream) (missing_batches{<replicas>})", "{{stream}}"),),
        ),
        Panel(
            "Copied boots and conflicting batches",
            "Processes that send under another one's boot, counted separately; batches that are not counted "
            "because more than nine do. Absent if there are none.",
            (
                _query("sum(copied_boots{<replicas>})", "copied boots"),
                _query("sum(increase(conflicting_batches_total{<replicas>}[$__rate_interval]))", "conflicting batches"),
            ),
        ),
        Panel(
            "Age of the newest data by endpoint",
            "Time since the end of the newest stored interval. It grows while no replica of the endpoint is alive.",
            (
                _query(
                    "time() - max by (endpoint_namespace, endpoint_name) (data_timestamp_seconds{<endpoints>})",
                    "{{endpoint_namespace}}/{{endpoint_name}}",
                ),
            ),
            unit="s", width=12,
        ),
        Panel(
            "Replicas of unknown state by endpoint",
            "Replicas about which nothing current is known because the pipeline is behind.",
            (
                _query(
                    "sum by (endpoint_namespace, endpoint_name) (unknown_replicas{<endpoints>})",
                    "{{endpoint_namespace}}/{{endpoint_name}}",
                ),
            ),
            width=12,
        ),
    ),
)  # fmt: skip


def _variable(name: str, label: str, query: str) -> Variable:
    reference = "PrometheusVariableQueryEditor-VariableQuery"
    return Variable(
        name, label, {"qryType": 1, "query": query, "refId": reference}, has_all=True, all_value=".+"
    )


PROMETHEUS = Dashboard(
    uid="endpoint-analytics-prometheus",
    title="Endpoint Analytics: endpoints (Prometheus)",
    description="Requests, latency, replicas, hardware and losses of inference endpoints. docs/dashboards.md",
    source="prometheus",
    variables=(
        _variable("namespace", "Namespace", "label_values(unknown_replicas, endpoint_namespace)"),
        _variable(
            "endpoint",
            "Endpoint",
            'label_values(unknown_replicas{endpoint_namespace=~"$namespace"}, endpoint_name)',
        ),
        _variable("replica", "Replica", f'label_values({{{ENDPOINTS},replica_id!=""}}, replica_id)'),
    ),
    rows=(NOW, REQUESTS, LATENCY, REPLICAS_ROW, COMPUTE, ENGINE, LOSSES),
)
