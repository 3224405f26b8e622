"""One example message of each kind, shown in the documents and decoded by their tests."""

from __future__ import annotations

from endpoint_analytics.schemas.engine import EngineBatch
from endpoint_analytics.schemas.hardware import Accelerator, HardwareBatch
from endpoint_analytics.schemas.outcomes import (
    Gaps,
    OutcomeBatch,
    Outcomes,
    OutcomeTotals,
    SampledRequest,
    Slice,
)
from endpoint_analytics.schemas.rejected import Rejected
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaState
from endpoint_analytics.schemas.requests import Aborted, Arrived, Finished, RequestBatch, Responded, Totals
from endpoint_analytics.schemas.signals import AutoscalingSignal, ReplicaSignal

REQUEST_BATCH = RequestBatch(
    namespace="acme",
    endpoint="llm",
    replica_id="llm-7d9fc5b8-x2x9q",
    boot_id="3f2a9c41d7e84b06",
    seq=42,
    start_us=1_790_000_042_000_000,
    end_us=1_790_000_043_000_000,
    pending=1,
    streaming=1,
    oldest_pending_us=180_000,
    arrived=Arrived(at_us=[210_000, 820_000]),
    responded=Responded(at_us=[55_000, 260_500], wait_us=[93_000, 50_500], status=[200, 429]),
    finished=Finished(at_us=[260_900], duration_us=[50_900], status=[429]),
    aborted_streaming=Aborted(at_us=[700_000], age_us=[2_310_000]),
    totals=Totals(
        arrived=1_312,
        finished=1_296,
        aborted_pending=3,
        aborted_streaming=11,
        status={"200": 1_290, "429": 18},
        wait_us=65_390_000,
        duration_us=812_450_000,
    ),
)

HARDWARE_BATCH = HardwareBatch(
    namespace="acme",
    endpoint="llm",
    replica_id="llm-7d9fc5b8-x2x9q",
    boot_id="3f2a9c41d7e84b06",
    seq=42,
    start_us=1_790_000_042_000_000,
    end_us=1_790_000_043_000_000,
    at_us=[0, 500_000],
    replica={"cpu_percent": [37.5, 41.25], "memory_used_bytes": [8_589_934_592.0, 8_589_942_784.0]},
    accelerators=[
        Accelerator(
            device="gpu0",
            uuid="GPU-5f1c7a0e",
            name="NVIDIA H200",
            readings={
                "gpu_percent": [88.0, None],
                "gpu_memory_used_bytes": [75_161_927_680.0, 75_161_927_680.0],
            },
        )
    ],
)

ENGINE_BATCH = EngineBatch(
    namespace="acme",
    endpoint="llm",
    replica_id="llm-7d9fc5b8-x2x9q",
    boot_id="3f2a9c41d7e84b06",
    seq=42,
    start_us=1_790_000_042_000_000,
    end_us=1_790_000_043_000_000,
    at_us=[1_000_000],
    engine="vllm",
    readings={
        "engine_running_requests": [12.0],
        "engine_waiting_requests": [3.0],
        "engine_kv_cache_percent": [87.5],
        "engine_generated_tokens_per_second": [1843.0],
    },
)

OUTCOME_BATCH = OutcomeBatch(
    namespace="acme",
    endpoint="llm",
    replica_id="llm-7d9fc5b8-x2x9q",
    boot_id="3f2a9c41d7e84b06",
    seq=17,
    start_us=1_790_000_042_000_000,
    end_us=1_790_000_043_000_000,
    slices=[
        Slice(route="/v1/chat/completions", model="llama-3", streamed=True, input_upto=512),
        Slice(route="/v1/chat/completions", model="llama-3"),
    ],
    outcomes=Outcomes(
        at_us=[260_900, 700_000],
        slice=[0, 1],
        ended=["complete", "aborted"],
        status=[200, None],
        duration_us=[1_850_000, 2_310_000],
        first_byte_us=[93_000, None],
        first_token_us=[141_000, None],
        last_token_us=[1_848_000, None],
        events=[97, None],
        gap_max_us=[54_000, None],
        input_tokens=[418, None],
        output_tokens=[98, None],
        request_bytes=[1_732, 801],
        response_bytes=[26_114, 0],
    ),
    gaps=Gaps(slice=[0, 0, 0], bucket=[879, 880, 881], count=[31, 44, 21]),
    samples=[
        SampledRequest(
            why="failed",
            of=1,
            at_us=700_000,
            slice=1,
            ended="aborted",
            duration_us=2_310_000,
            request_bytes=801,
            request_id="req-81f2",
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        )
    ],
    totals=OutcomeTotals(requests=1_204),
)

REPLICA_STATE = ReplicaState(
    namespace="acme",
    endpoint="llm",
    replica_id="llm-7d9fc5b8-x2x9q",
    at_us=1_790_000_000_250_000,
    state="running",
    reason="readiness probe passed",
)

ENDPOINT_SETTINGS = EndpointSettings(
    namespace="acme", endpoint="llm", at_us=1_789_999_900_000_000, min_replicas=1, max_replicas=4
)

REJECTED = Rejected(
    topic="endpoint-analytics.requests",
    partition=3,
    offset=18_204,
    append_time_ms=1_790_000_043_018,
    reason="unequal_columns",
    detail="responded.status has 0 values, responded.at_us has 1",
    value=b'{"version":1,...}',
    value_bytes=17,
)

AUTOSCALING_SIGNAL = AutoscalingSignal(
    namespace="acme",
    endpoint="llm",
    at_us=1_790_000_045_000_000,
    as_of_us=1_790_000_044_018_000,
    window_us=20_000_000,
    hardware_window_us=60_000_000,
    running_replicas=2,
    pending_requests=3.5,
    pending_per_replica=1.75,
    active_requests=6.0,
    active_per_replica=3.0,
    cpu_percent=62.5,
    replicas=[
        ReplicaSignal(
            replica_id="llm-7d9fc5b8-x2x9q",
            state="running",
            pending_requests=3.5,
            streaming_requests=2.0,
            cpu_percent=85.0,
        ),
        ReplicaSignal(
            replica_id="llm-7d9fc5b8-k4wzt",
            state="running",
            pending_requests=0.0,
            streaming_requests=0.5,
            cpu_percent=40.0,
        ),
    ],
)
