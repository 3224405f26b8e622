import math
from datetime import UTC, datetime

from endpoint_analytics.pipeline.exposition.openmetrics import render
from endpoint_analytics.pipeline.serve.scrape.endpoint_families import endpoint_families
from endpoint_analytics.pipeline.store.endpoint_numbers import (
    DurationSummary,
    EndpointMetrics,
    NewestSample,
    ReplicaMetrics,
    RequestTotals,
)
from endpoint_analytics.pipeline.store.read_model import RequestLevels

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = DurationSummary(((0.5, math.nan), (0.9, math.nan), (0.95, math.nan), (0.99, math.nan)), 0, 0)


def test_an_endpoint_is_exactly_this():
    requests = RequestTotals(
        FIRST, ((200, 1152), (503, 1)), 2, 0, (("buffer_full", 3),), RequestLevels(4, 1, 2_500_000)
    )
    hardware = (
        NewestSample("cpu_percent", "", 37.25),
        NewestSample("oom_kills", "", 1.0),
        NewestSample("gpu_percent", "gpu0", 91.0),
        NewestSample("gpu_memory_used_bytes", "gpu0", 8589934592.0),
    )
    metrics = EndpointMetrics(
        replicas=(
            ReplicaMetrics("q9cv", "downloading", None, ()),
            ReplicaMetrics("fqwg", "running", requests, hardware),
            ReplicaMetrics(
                "unassigned", None, RequestTotals(FIRST, (), 0, 0, (), RequestLevels(7, 0, 100)), ()
            ),
        ),
        latency=DurationSummary(((0.5, 0.006339203), (0.99, 0.020140918)), 4, 42048),
        time_to_first_byte=NOTHING,
        running_replicas=1,
        unknown_since=None,
        min_replicas=0,
        max_replicas=4,
        data_at=datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC),
        status_counts=((200, 1152), (503, 1)),
    )
    states = (
        "pending",
        "downloading",
        "pulling",
        "initializing",
        "running",
        "draining",
        "terminated",
        "failed",
    )
    assert render(endpoint_families(metrics)).decode() == (
        "# HELP latency_distribution Latency distribution, in seconds\n"
        "# TYPE latency_distribution summary\n"
        'latency_distribution{quantile="0.5"} 0.006339203\n'
        'latency_distribution{quantile="0.99"} 0.020140918\n'
        "latency_distribution_count 4\n"
        "latency_distribution_sum 0.042048\n"
        "# HELP time_to_first_byte Time from arrival to the status being sent, in seconds\n"
        "# TYPE time_to_first_byte summary\n"
        'time_to_first_byte{quantile="0.5"} NaN\n'
        'time_to_first_byte{quantile="0.9"} NaN\n'
        'time_to_first_byte{quantile="0.95"} NaN\n'
        'time_to_first_byte{quantile="0.99"} NaN\n'
        "time_to_first_byte_count 0\n"
        "time_to_first_byte_sum 0.0\n"
        "# HELP http_requests HTTP requests by status code and replica\n"
        "# TYPE http_requests counter\n"
        'http_requests_total{replica_id="fqwg",status_code="200"} 1152\n'
        'http_requests_total{replica_id="fqwg",status_code="500"} 0\n'
        'http_requests_total{replica_id="fqwg",status_code="503"} 1\n'
        'http_requests_total{replica_id="unassigned",status_code="200"} 0\n'
        'http_requests_total{replica_id="unassigned",status_code="500"} 0\n'
        'http_requests_total{replica_id="unassigned",status_code="503"} 0\n'
        "# HELP aborted_requests Requests that ended before their last byte was sent, by stage\n"
        "# TYPE aborted_requests counter\n"
        'aborted_requests_total{replica_id="fqwg",stage="pending"} 2\n'
        'aborted_requests_total{replica_id="fqwg",stage="streaming"} 0\n'
        'aborted_requests_total{replica_id="unassigned",stage="pending"} 0\n'
        'aborted_requests_total{replica_id="unassigned",stage="streaming"} 0\n'
        "# HELP dropped_requests Requests missing from all other metrics, by reason: the agent could "
        "not record them, or lost their batch\n"
        "# TYPE dropped_requests counter\n"
        'dropped_requests_total{replica_id="fqwg",reason="buffer_full"} 3\n'
        'dropped_requests_total{replica_id="fqwg",reason="missing"} 0\n'
        'dropped_requests_total{replica_id="unassigned",reason="buffer_full"} 0\n'
        'dropped_requests_total{replica_id="unassigned",reason="missing"} 0\n'
        "# HELP pending_requests Requests without an HTTP status yet\n"
        "# TYPE pending_requests gauge\n"
        'pending_requests{replica_id="fqwg"} 4\n'
        'pending_requests{replica_id="unassigned"} 7\n'
        "# HELP streaming_requests Requests whose status has been sent but not their last byte\n"
        "# TYPE streaming_requests gauge\n"
        'streaming_requests{replica_id="fqwg"} 1\n'
        'streaming_requests{replica_id="unassigned"} 0\n'
        "# HELP active_requests Pending and streaming requests\n"
        "# TYPE active_requests gauge\n"
        'active_requests{replica_id="fqwg"} 5\n'
        'active_requests{replica_id="unassigned"} 7\n'
        "# HELP oom_kills Processes of the replica killed for lack of memory, since its cgroup was "
        "created\n"
        "# TYPE oom_kills counter\n"
        'oom_kills_total{replica_id="fqwg"} 1.0\n'
        "# HELP replica_state State of the replica\n"
        "# TYPE replica_state stateset\n"
        + "".join(
            f'replica_state{{replica_id="{replica}",replica_state="{state}"}} {int(state == shown)}\n'
            for replica, shown in (("q9cv", "downloading"), ("fqwg", "running"))
            for state in states
        )
        + "# HELP running_replicas Running replicas\n"
        "# TYPE running_replicas gauge\n"
        "running_replicas 1\n"
        "# HELP unknown_replicas Replicas whose state is currently unknown, because the pipeline is late\n"
        "# TYPE unknown_replicas gauge\n"
        "unknown_replicas 0\n"
        "# HELP min_replicas Minimum replicas setting\n"
        "# TYPE min_replicas gauge\n"
        "min_replicas 0\n"
        "# HELP max_replicas Maximum replicas setting\n"
        "# TYPE max_replicas gauge\n"
        "max_replicas 4\n"
        "# HELP oldest_pending_request_age_seconds Age of the oldest pending request\n"
        "# TYPE oldest_pending_request_age_seconds gauge\n"
        "# UNIT oldest_pending_request_age_seconds seconds\n"
        'oldest_pending_request_age_seconds{replica_id="fqwg"} 2.5\n'
        'oldest_pending_request_age_seconds{replica_id="unassigned"} 0.0001\n'
        "# HELP cpu_usage_percent CPU percent of the replica's cores (its cgroup quota, else the "
        "machine's)\n"
        "# TYPE cpu_usage_percent gauge\n"
        "# UNIT cpu_usage_percent percent\n"
        'cpu_usage_percent{replica_id="fqwg"} 37.25\n'
        "# HELP gpu_usage_percent GPU percent: share of time in which a kernel ran\n"
        "# TYPE gpu_usage_percent gauge\n"
        "# UNIT gpu_usage_percent percent\n"
        'gpu_usage_percent{replica_id="fqwg",gpu="gpu0"} 91.0\n'
        "# HELP gpu_memory_used_bytes GPU memory used\n"
        "# TYPE gpu_memory_used_bytes gauge\n"
        "# UNIT gpu_memory_used_bytes bytes\n"
        'gpu_memory_used_bytes{replica_id="fqwg",gpu="gpu0"} 8589934592.0\n'
        "# HELP data_timestamp_seconds End of the newest stored interval, in Unix time\n"
        "# TYPE data_timestamp_seconds gauge\n"
        "# UNIT data_timestamp_seconds seconds\n"
        "data_timestamp_seconds 1767323045.25\n"
        "# EOF\n"
    )


def test_engines_metrics_are_gauges_the_known_ones_first():
    def replica(name, *engine):
        return ReplicaMetrics(name, None, None, (), tuple(NewestSample(*sample) for sample in engine))

    replicas = (
        replica("a", ("engine_own", "", 1.5), ("engine_waiting_requests", "", 3.0)),
        replica(
            "b", ("engine_waiting_requests", "", 4.0), ("engine_generated_tokens_per_second", "", 1843.25)
        ),
    )
    metrics = EndpointMetrics(replicas, NOTHING, NOTHING, 0, None, None, None, None)
    families = [family for family in endpoint_families(metrics) if family.name.startswith("engine_")]
    assert render(tuple(families)).decode() == (
        "# HELP engine_own Metric of the serving engine that its agent is configured to send\n"
        "# TYPE engine_own gauge\n"
        'engine_own{replica_id="a"} 1.5\n'
        "# HELP engine_waiting_requests Requests waiting in the engine's queue\n"
        "# TYPE engine_waiting_requests gauge\n"
        "# UNIT engine_waiting_requests requests\n"
        'engine_waiting_requests{replica_id="a"} 3.0\n'
        'engine_waiting_requests{replica_id="b"} 4.0\n'
        "# HELP engine_generated_tokens_per_second Tokens generated by the engine\n"
        "# TYPE engine_generated_tokens_per_second gauge\n"
        "# UNIT engine_generated_tokens_per_second tokens_per_second\n"
        'engine_generated_tokens_per_second{replica_id="b"} 1843.25\n'
        "# EOF\n"
    )


def test_what_is_not_known_is_left_out():
    metrics = EndpointMetrics((), NOTHING, NOTHING, 0, None, None, None, None)
    names = [family.name for family in endpoint_families(metrics)]
    assert names == ["latency_distribution", "time_to_first_byte", "running_replicas", "unknown_replicas"]


def test_while_the_pipeline_is_late_counters_stay_and_the_rest_is_left_out():
    late = RequestTotals(FIRST, ((200, 5),), 0, 0, (), None)
    quiet = DurationSummary((), 5, 42)
    metrics = EndpointMetrics(
        (ReplicaMetrics("r", "unknown", late, (), missing_batches=(("requests", 2),)),),
        quiet,
        quiet,
        None,
        datetime(2026, 1, 2, tzinfo=UTC),
        1,
        4,
        None,
    )
    lines = [line for line in render(endpoint_families(metrics)).decode().splitlines() if line[0] != "#"]
    assert lines == [
        "latency_distribution_count 5",
        "latency_distribution_sum 0.000042",
        "time_to_first_byte_count 5",
        "time_to_first_byte_sum 0.000042",
        'http_requests_total{replica_id="r",status_code="200"} 5',
        'http_requests_total{replica_id="r",status_code="500"} 0',
        'aborted_requests_total{replica_id="r",stage="pending"} 0',
        'aborted_requests_total{replica_id="r",stage="streaming"} 0',
        'dropped_requests_total{replica_id="r",reason="buffer_full"} 0',
        'dropped_requests_total{replica_id="r",reason="missing"} 0',
        'missing_batches{replica_id="r",stream="requests"} 2',
        "unknown_replicas 1",
        "min_replicas 1",
        "max_replicas 4",
    ]
