"""The autoscaling signal: the load of one endpoint over the last seconds, for consumers that scale it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from endpoint_analytics.schemas.limits import MAX_REPLICAS
from endpoint_analytics.schemas.replicas import State
from endpoint_analytics.schemas.requests import TimeUs

VERSION = 1

Figure = Annotated[float, msgspec.Meta(ge=0)]
"""Requests or percent; an unknown value is null or omitted, and never 0."""
Replicas = Annotated[int, msgspec.Meta(ge=0, le=MAX_REPLICAS)]


class ReplicaSignal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One present replica. `unassigned`, which has no state, has the requests that no replica holds."""

    replica_id: str
    state: State | None = None
    pending_requests: Figure | None = None
    streaming_requests: Figure | None = None
    cpu_percent: Figure | None = None
    memory_percent: Figure | None = None
    gpu_percent: Figure | None = None
    gpu_memory_percent: Figure | None = None


class AutoscalingSignal(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="version", tag=VERSION
):
    """One endpoint at the time `at_us`, which is a multiple of the sender's interval.

    Means of requests are over `window_us`, those of hardware over `hardware_window_us`, up to `as_of_us`: the time at
    which the broker received the newest message of the endpoint's agents. It may be slightly after `at_us`.
    """

    namespace: str
    endpoint: str
    at_us: TimeUs
    as_of_us: TimeUs
    window_us: Annotated[int, msgspec.Meta(gt=0)]
    hardware_window_us: Annotated[int, msgspec.Meta(gt=0)]
    running_replicas: Replicas
    late_replicas: Replicas = 0
    silent_replicas: Replicas = 0
    pending_requests: Figure | None = None
    pending_per_replica: Figure | None = None
    active_requests: Figure | None = None
    active_per_replica: Figure | None = None
    cpu_percent: Figure | None = None
    memory_percent: Figure | None = None
    gpu_percent: Figure | None = None
    gpu_memory_percent: Figure | None = None
    replicas: list[ReplicaSignal] = []
