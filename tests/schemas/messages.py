"""Messages: a valid one of each kind as plain JSON members, and strategies that generate valid ones."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from endpoint_analytics.schemas.engine import EngineBatch
from endpoint_analytics.schemas.hardware import Accelerator, HardwareBatch
from endpoint_analytics.schemas.limits import (
    MAX_COUNT,
    MAX_DURATION_US,
    MAX_INTERVAL_US,
    MAX_LEVEL,
    MAX_NAME_LENGTH,
    MAX_REASON_LENGTH,
    MAX_REPLICAS,
    MAX_SUM_US,
    MAX_TIME_US,
    MIN_TIME_US,
)
from endpoint_analytics.schemas.rejected import Rejected
from endpoint_analytics.schemas.replicas import STATES, EndpointSettings, ReplicaState
from endpoint_analytics.schemas.requests import (
    Aborted,
    Arrived,
    Finished,
    Informational,
    RequestBatch,
    Responded,
    Totals,
)
from endpoint_analytics.schemas.signals import AutoscalingSignal, ReplicaSignal

START_US = 1_790_000_000_000_000

BOOT = {"namespace": "acme", "endpoint": "llm", "replica_id": "llm-7d9f-x2x", "boot_id": "0b5c1e"}
INTERVAL = {"start_us": START_US, "end_us": START_US + 1_000_000}
REQUESTS = {"version": 1, **BOOT, "seq": 0, **INTERVAL, "pending": 0, "streaming": 0}
HARDWARE = {"version": 1, **BOOT, "seq": 0, **INTERVAL, "at_us": [500_000]}
ENGINE = {"version": 1, **BOOT, "seq": 0, **INTERVAL, "at_us": [500_000], "engine": "vllm"}
SIGNAL = {
    "version": 1,
    "namespace": "acme",
    "endpoint": "llm",
    "at_us": START_US,
    "as_of_us": START_US,
    "window_us": 20_000_000,
    "hardware_window_us": 60_000_000,
    "running_replicas": 1,
    "pending_per_replica": 1.5,
}
STATE = {
    "type": "replica_state",
    "version": 1,
    "namespace": "acme",
    "endpoint": "llm",
    "replica_id": "llm-7d9f-x2x",
    "at_us": START_US,
    "state": "running",
}
SETTINGS = {
    "type": "endpoint_settings",
    "version": 1,
    "namespace": "acme",
    "endpoint": "llm",
    "at_us": START_US,
    "min_replicas": 1,
    "max_replicas": 4,
}


def wire(message: dict[str, object], **changes: object) -> bytes:
    """Return the message with some members changed, as JSON; `...` removes a member."""
    members = {name: value for name, value in (message | changes).items() if value is not ...}
    return json.dumps(members).encode()


_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_ends = st.sampled_from(_ALPHANUMERIC)
names = st.one_of(
    _ends,
    st.builds(
        lambda first, middle, last: first + middle + last,
        _ends,
        st.text(_ALPHANUMERIC + "._-", max_size=MAX_NAME_LENGTH - 2),
        _ends,
    ),
)
counts = st.integers(0, MAX_COUNT)
levels = st.integers(0, MAX_LEVEL)
sums_us = st.integers(0, MAX_SUM_US)
offsets_us = st.integers(0, MAX_INTERVAL_US)
durations_us = st.integers(0, MAX_DURATION_US)
statuses = st.integers(100, 599)
times_us = st.integers(MIN_TIME_US, MAX_TIME_US)
words = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)


@st.composite
def intervals(draw):
    start_us = draw(st.integers(MIN_TIME_US, MAX_TIME_US - MAX_INTERVAL_US))
    return {"start_us": start_us, "end_us": start_us + draw(offsets_us)}


def columns(kind, **named):
    """A phase whose columns have equal lengths."""

    def fill(rows):
        return kind(**{name: [row[i] for row in rows] for i, name in enumerate(named)})

    return st.lists(st.tuples(*named.values()), max_size=5).map(fill)


totals = st.builds(
    Totals,
    arrived=counts,
    finished=counts,
    aborted_pending=counts,
    aborted_streaming=counts,
    status=st.dictionaries(statuses.map(str), counts, max_size=4),
    wait_us=sums_us,
    duration_us=sums_us,
    dropped=st.dictionaries(words, counts, max_size=3),
    dropped_batches=st.dictionaries(words, counts, max_size=3),
)


@st.composite
def request_batches(draw):
    return RequestBatch(
        namespace=draw(names),
        endpoint=draw(names),
        replica_id=draw(names),
        boot_id=draw(names),
        seq=draw(counts),
        **draw(intervals()),
        pending=draw(levels),
        streaming=draw(levels),
        oldest_pending_us=draw(durations_us),
        arrived=draw(columns(Arrived, at_us=offsets_us)),
        informational=draw(columns(Informational, at_us=offsets_us, status=statuses)),
        responded=draw(columns(Responded, at_us=offsets_us, wait_us=durations_us, status=statuses)),
        finished=draw(columns(Finished, at_us=offsets_us, duration_us=durations_us, status=statuses)),
        aborted_pending=draw(columns(Aborted, at_us=offsets_us, age_us=durations_us)),
        aborted_streaming=draw(columns(Aborted, at_us=offsets_us, age_us=durations_us)),
        totals=draw(totals),
    )


def readings_of(metrics, at_us):
    """Columns of readings of a few metrics, with one reading for each of `at_us`."""
    column = st.lists(
        st.none() | st.floats(-1e15, 1e15, allow_nan=False), min_size=len(at_us), max_size=len(at_us)
    )
    return st.dictionaries(metrics, column, max_size=3)


@st.composite
def sampled_intervals(draw):
    """An interval, and the times of the samples in it."""
    interval = draw(intervals())
    length_us = interval["end_us"] - interval["start_us"]
    return interval, draw(st.lists(st.integers(0, length_us), max_size=4))


@st.composite
def engine_batches(draw):
    interval, at_us = draw(sampled_intervals())
    return EngineBatch(
        namespace=draw(names),
        endpoint=draw(names),
        replica_id=draw(names),
        boot_id=draw(names),
        seq=draw(counts),
        **interval,
        at_us=at_us,
        engine=draw(st.just("") | st.from_regex(r"[a-z][a-z0-9_.-]{0,31}", fullmatch=True)),
        readings=draw(readings_of(st.from_regex(r"engine_[a-z0-9_]{1,56}", fullmatch=True), at_us)),
    )


@st.composite
def hardware_batches(draw):
    interval, at_us = draw(sampled_intervals())
    readings = readings_of(words, at_us)
    accelerator = st.builds(
        Accelerator,
        device=st.from_regex(r"[a-z][a-z0-9_.-]{0,31}", fullmatch=True),
        readings=readings,
        uuid=st.text(max_size=MAX_NAME_LENGTH),
        name=st.text(max_size=MAX_NAME_LENGTH),
    )
    return HardwareBatch(
        namespace=draw(names),
        endpoint=draw(names),
        replica_id=draw(names),
        boot_id=draw(names),
        seq=draw(counts),
        **interval,
        at_us=at_us,
        replica=draw(readings),
        accelerators=draw(st.lists(accelerator, max_size=2, unique_by=lambda gpu: gpu.device)),
    )


replica_states = st.builds(
    ReplicaState,
    namespace=names,
    endpoint=names,
    replica_id=names,
    at_us=times_us,
    state=st.sampled_from(STATES),
    reason=st.text(max_size=MAX_REASON_LENGTH),
)


@st.composite
def endpoint_settings(draw):
    least, most = sorted(draw(st.tuples(*[st.integers(0, MAX_REPLICAS)] * 2)))
    return EndpointSettings(
        namespace=draw(names),
        endpoint=draw(names),
        at_us=draw(times_us),
        min_replicas=least,
        max_replicas=most,
    )


rejected = st.builds(
    Rejected,
    topic=words,
    partition=st.integers(0, 10_000),
    offset=counts,
    append_time_ms=st.integers(0, MAX_TIME_US // 1000),
    reason=st.sampled_from(["not_json", "not_conserved"]),
    detail=st.text(max_size=512),
    value=st.binary(max_size=64),
    value_bytes=counts,
)


figures = st.none() | st.floats(0, 1e9)
PERCENTS = dict.fromkeys(("cpu_percent", "memory_percent", "gpu_percent", "gpu_memory_percent"), figures)
autoscaling_signals = st.builds(
    AutoscalingSignal,
    namespace=names,
    endpoint=names,
    at_us=times_us,
    as_of_us=times_us,
    window_us=st.integers(1, MAX_INTERVAL_US),
    hardware_window_us=st.integers(1, MAX_INTERVAL_US),
    **{f"{name}_replicas": st.integers(0, MAX_REPLICAS) for name in ("running", "late", "silent")},
    **dict.fromkeys(
        ("pending_requests", "pending_per_replica", "active_requests", "active_per_replica"), figures
    ),
    **PERCENTS,
    replicas=st.lists(
        st.builds(
            ReplicaSignal,
            replica_id=names,
            state=st.none() | st.sampled_from(STATES),
            pending_requests=figures,
            streaming_requests=figures,
            **PERCENTS,
        ),
        max_size=3,
    ),
)
