"""The names of metrics: each is defined here once, with its unit and its help text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HardwareMetric:
    """A hardware metric: its name in messages and in ClickHouse, and its OpenMetrics family.

    `family` ends with `unit`, as OpenMetrics 1.0 requires; a metric without a family is not exported. A counter grows
    from the start of whatever it counts; all others are sampled values.
    """

    name: str
    unit: str
    help: str
    family: str = ""
    per_device: bool = False
    counter: bool = False


CPU_PERCENT = HardwareMetric(
    "cpu_percent",
    "percent",
    "CPU percent of the replica's cores (its cgroup quota, else the machine's)",
    "cpu_usage_percent",
)
CPU_LIMIT_CORES = HardwareMetric(
    "cpu_limit_cores",
    "cores",
    "Cores that the replica may use: its cgroup's quota or cpuset, else the machine's",
    "cpu_limit_cores",
)
CPU_THROTTLED_RATIO = HardwareMetric(
    "cpu_throttled_ratio",
    "ratio",
    "Share of the scheduler's periods in which the CPU quota held the replica back",
    "cpu_throttled_ratio",
)
CPU_PRESSURE_RATIO = HardwareMetric(
    "cpu_pressure_ratio",
    "ratio",
    "Share of time in which some task of the replica waited for a processor",
    "cpu_pressure_ratio",
)
MEMORY_USED_BYTES = HardwareMetric(
    "memory_used_bytes", "bytes", "Memory used by the replica, without page cache", "memory_used_bytes"
)
MEMORY_LIMIT_BYTES = HardwareMetric(
    "memory_limit_bytes",
    "bytes",
    "Memory limit of the replica (its cgroup's, else the machine's)",
    "memory_limit_bytes",
)
MEMORY_PRESSURE_RATIO = HardwareMetric(
    "memory_pressure_ratio",
    "ratio",
    "Share of time in which some task of the replica waited for memory",
    "memory_pressure_ratio",
)
MEMORY_LIMIT_HITS = HardwareMetric(
    "memory_limit_hits",
    "hits",
    "Times that the replica's memory reached its limit, since its cgroup was created",
    "memory_limit_hits",
    counter=True,
)
OOM_KILLS = HardwareMetric(
    "oom_kills",
    "processes",
    "Processes of the replica killed for lack of memory, since its cgroup was created",
    "oom_kills",
    counter=True,
)
NETWORK_RECEIVED_BYTES = HardwareMetric(
    "network_received_bytes", "bytes", "Bytes received since the previous sample"
)
NETWORK_SENT_BYTES = HardwareMetric("network_sent_bytes", "bytes", "Bytes sent since the previous sample")
DISK_READ_BYTES = HardwareMetric(
    "disk_read_bytes", "bytes", "Bytes read from disks since the previous sample"
)
DISK_WRITTEN_BYTES = HardwareMetric(
    "disk_written_bytes", "bytes", "Bytes written to disks since the previous sample"
)
GPU_PERCENT = HardwareMetric(
    "gpu_percent", "percent", "GPU percent: share of time in which a kernel ran", "gpu_usage_percent", True
)
GPU_MEMORY_USED_BYTES = HardwareMetric(
    "gpu_memory_used_bytes", "bytes", "GPU memory used", "gpu_memory_used_bytes", True
)
GPU_MEMORY_TOTAL_BYTES = HardwareMetric(
    "gpu_memory_total_bytes", "bytes", "Total GPU memory", "gpu_memory_total_bytes", True
)
GPU_POWER_WATTS = HardwareMetric("gpu_power_watts", "watts", "GPU power draw", "gpu_power_watts", True)
GPU_TEMPERATURE_CELSIUS = HardwareMetric(
    "gpu_temperature_celsius", "celsius", "GPU temperature", "gpu_temperature_celsius", True
)
GPU_THROTTLED_RATIO = HardwareMetric(
    "gpu_throttled_ratio",
    "ratio",
    "1 while heat, power or a fault holds the GPU's clocks down, else 0: the mean is the share of time",
    "gpu_throttled_ratio",
    True,
)
GPU_THROTTLED_THERMAL_RATIO = HardwareMetric(
    "gpu_throttled_thermal_ratio", "ratio", "The same, for heat only", "gpu_throttled_thermal_ratio", True
)
GPU_THROTTLED_POWER_RATIO = HardwareMetric(
    "gpu_throttled_power_ratio", "ratio", "The same, for power only", "gpu_throttled_power_ratio", True
)
GPU_ECC_CORRECTED_ERRORS = HardwareMetric(
    "gpu_ecc_corrected_errors",
    "errors",
    "Corrected memory errors of the GPU since its driver started counting",
    "gpu_ecc_corrected_errors",
    per_device=True,
    counter=True,
)
GPU_ECC_UNCORRECTED_ERRORS = HardwareMetric(
    "gpu_ecc_uncorrected_errors",
    "errors",
    "Uncorrected memory errors of the GPU since its driver started counting",
    "gpu_ecc_uncorrected_errors",
    per_device=True,
    counter=True,
)
GPU_XID_ERRORS = HardwareMetric(
    "gpu_xid_errors",
    "errors",
    "Critical errors (XID) of the GPU's driver since the agent started",
    "gpu_xid_errors",
    per_device=True,
    counter=True,
)
GPU_REPLICA_PERCENT = HardwareMetric(
    "gpu_replica_percent", "percent", "GPU percent of the replica's own processes", per_device=True
)
GPU_REPLICA_MEMORY_USED_BYTES = HardwareMetric(
    "gpu_replica_memory_used_bytes", "bytes", "GPU memory of the replica's own processes", per_device=True
)

HARDWARE_METRICS = (
    CPU_PERCENT,
    CPU_LIMIT_CORES,
    CPU_THROTTLED_RATIO,
    CPU_PRESSURE_RATIO,
    MEMORY_USED_BYTES,
    MEMORY_LIMIT_BYTES,
    MEMORY_PRESSURE_RATIO,
    MEMORY_LIMIT_HITS,
    OOM_KILLS,
    NETWORK_RECEIVED_BYTES,
    NETWORK_SENT_BYTES,
    DISK_READ_BYTES,
    DISK_WRITTEN_BYTES,
    GPU_PERCENT,
    GPU_MEMORY_USED_BYTES,
    GPU_MEMORY_TOTAL_BYTES,
    GPU_POWER_WATTS,
    GPU_TEMPERATURE_CELSIUS,
    GPU_THROTTLED_RATIO,
    GPU_THROTTLED_THERMAL_RATIO,
    GPU_THROTTLED_POWER_RATIO,
    GPU_ECC_CORRECTED_ERRORS,
    GPU_ECC_UNCORRECTED_ERRORS,
    GPU_XID_ERRORS,
    GPU_REPLICA_PERCENT,
    GPU_REPLICA_MEMORY_USED_BYTES,
)


@dataclass(frozen=True, slots=True)
class EngineMetric:
    """A metric reported by serving engines: its name in messages, in ClickHouse, and as its OpenMetrics family.

    The name ends with `unit`. Agents may send other metrics, whose names also start with `engine_`.
    """

    name: str
    unit: str
    help: str


ENGINE_RUNNING_REQUESTS = EngineMetric(
    "engine_running_requests", "requests", "Requests that the engine is processing"
)
ENGINE_WAITING_REQUESTS = EngineMetric(
    "engine_waiting_requests", "requests", "Requests waiting in the engine's queue"
)
ENGINE_KV_CACHE_PERCENT = EngineMetric(
    "engine_kv_cache_percent", "percent", "Share of the engine's key-value cache that is in use"
)
ENGINE_PROMPT_TOKENS = EngineMetric(
    "engine_prompt_tokens_per_second", "tokens_per_second", "Prompt tokens processed by the engine"
)
ENGINE_CACHED_PROMPT_TOKENS = EngineMetric(
    "engine_cached_prompt_tokens_per_second",
    "tokens_per_second",
    "Prompt tokens found in the engine's prefix cache",
)
ENGINE_GENERATED_TOKENS = EngineMetric(
    "engine_generated_tokens_per_second", "tokens_per_second", "Tokens generated by the engine"
)
ENGINE_FINISHED_REQUESTS = EngineMetric(
    "engine_finished_requests_per_second", "requests_per_second", "Requests finished by the engine"
)
ENGINE_FAILED_REQUESTS = EngineMetric(
    "engine_failed_requests_per_second", "requests_per_second", "Requests that failed in the engine"
)
ENGINE_PREEMPTIONS = EngineMetric(
    "engine_preemptions_per_second",
    "preemptions_per_second",
    "Requests evicted from the engine's key-value cache, which start over",
)

ENGINE_METRICS = (
    ENGINE_RUNNING_REQUESTS,
    ENGINE_WAITING_REQUESTS,
    ENGINE_KV_CACHE_PERCENT,
    ENGINE_PROMPT_TOKENS,
    ENGINE_CACHED_PROMPT_TOKENS,
    ENGINE_GENERATED_TOKENS,
    ENGINE_FINISHED_REQUESTS,
    ENGINE_FAILED_REQUESTS,
    ENGINE_PREEMPTIONS,
)


@dataclass(frozen=True, slots=True)
class Family:
    """An OpenMetrics family that is exported in addition to the hardware metrics."""

    name: str
    type: str
    help: str
    unit: str = ""


LATENCY = Family("latency_distribution", "summary", "Latency distribution, in seconds")
LATENCY_SECONDS = Family(
    "latency_seconds", "histogram", "Time from arrival to the last byte being sent, by replica", "seconds"
)
TIME_TO_FIRST_BYTE_SECONDS = Family(
    "time_to_first_byte_seconds",
    "histogram",
    "Time from arrival to the status being sent, by replica",
    "seconds",
)
TIME_TO_FIRST_BYTE = Family(
    "time_to_first_byte", "summary", "Time from arrival to the status being sent, in seconds"
)
HTTP_REQUESTS = Family("http_requests", "counter", "HTTP requests by status code and replica")
ABORTED_REQUESTS = Family(
    "aborted_requests", "counter", "Requests that ended before their last byte was sent, by stage"
)
DROPPED_REQUESTS = Family(
    "dropped_requests",
    "counter",
    "Requests missing from all other metrics, by reason: the agent could not record them, or lost their batch",
)
MISSING_BATCHES = Family(
    "missing_batches", "gauge", "Batches that never arrived, judging by gaps in their numbers, by stream"
)
CONFLICTING_BATCHES = Family(
    "conflicting_batches",
    "counter",
    "Batches that arrived but are not counted, because more than nine processes send as one boot, by stream",
)
COPIED_BOOTS = Family(
    "copied_boots",
    "gauge",
    "Processes that send under another one's boot (a memory snapshot restored twice), counted separately, by stream",
)
PENDING_REQUESTS = Family("pending_requests", "gauge", "Requests without an HTTP status yet")
STREAMING_REQUESTS = Family(
    "streaming_requests", "gauge", "Requests whose status has been sent but not their last byte"
)
ACTIVE_REQUESTS = Family("active_requests", "gauge", "Pending and streaming requests")
OLDEST_PENDING = Family(
    "oldest_pending_request_age_seconds", "gauge", "Age of the oldest pending request", "seconds"
)
REPLICA_STATE = Family("replica_state", "stateset", "State of the replica")
RUNNING_REPLICAS = Family("running_replicas", "gauge", "Running replicas")
UNKNOWN_REPLICAS = Family(
    "unknown_replicas", "gauge", "Replicas whose state is currently unknown, because the pipeline is late"
)
MIN_REPLICAS = Family("min_replicas", "gauge", "Minimum replicas setting")
MAX_REPLICAS = Family("max_replicas", "gauge", "Maximum replicas setting")
DATA_TIMESTAMP = Family(
    "data_timestamp_seconds", "gauge", "End of the newest stored interval, in Unix time", "seconds"
)

AUTOSCALING_PENDING_REQUESTS = Family(
    "autoscaling_pending_requests", "gauge", "Pending requests of the endpoint, mean over the last 20 s"
)
AUTOSCALING_PENDING_PER_REPLICA = Family(
    "autoscaling_pending_per_replica",
    "gauge",
    "Pending requests per running replica (for 1 if none runs), mean over the last 20 s",
)
AUTOSCALING_ACTIVE_REQUESTS = Family(
    "autoscaling_active_requests",
    "gauge",
    "Pending and streaming requests of the endpoint, mean over the last 20 s",
)
AUTOSCALING_ACTIVE_PER_REPLICA = Family(
    "autoscaling_active_per_replica",
    "gauge",
    "Pending and streaming requests per running replica (for 1 if none runs), mean over the last 20 s",
)
AUTOSCALING_CPU_PERCENT = Family(
    "autoscaling_cpu_percent",
    "gauge",
    "CPU percent, mean over the last 60 s and all running replicas",
    "percent",
)
AUTOSCALING_MEMORY_PERCENT = Family(
    "autoscaling_memory_percent",
    "gauge",
    "Percent of the memory limit used, mean over the last 60 s and all running replicas",
    "percent",
)
AUTOSCALING_GPU_PERCENT = Family(
    "autoscaling_gpu_percent",
    "gauge",
    "GPU percent, mean over the last 60 s and all running replicas",
    "percent",
)
AUTOSCALING_GPU_MEMORY_PERCENT = Family(
    "autoscaling_gpu_memory_percent",
    "gauge",
    "Percent of the total GPU memory used, mean over the last 60 s and all running replicas",
    "percent",
)

HEARTBEAT_TIMEOUT_S = 10
"""A replica whose agent has been silent for this long is shown as failed; as unknown while the pipeline is late."""
