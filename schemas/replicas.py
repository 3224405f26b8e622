"""Replica states and endpoint settings: the two messages of the `replicas` topic."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from endpoint_analytics.schemas.limits import MAX_REASON_LENGTH, MAX_REPLICAS
from endpoint_analytics.schemas.requests import TimeUs

VERSION = 1

State = Literal[
    "pending", "downloading", "pulling", "initializing", "running", "draining", "terminated", "failed"
]
STATES: tuple[State, ...] = get_args(State)
"""All states, in the order of a replica's life."""

ShownState = Literal[
    "pending",
    "downloading",
    "pulling",
    "initializing",
    "running",
    "draining",
    "terminated",
    "failed",
    "unknown",
]
"""A state as shown to users: also `unknown`, while the pipeline is late, which messages never contain."""

Replicas = Annotated[int, msgspec.Meta(ge=0, le=MAX_REPLICAS)]


class ReplicaState(msgspec.Struct, frozen=True, kw_only=True, tag="replica_state"):
    """A replica entered `state` at `at_us`; `reason` is human-readable."""

    version: int = VERSION
    namespace: str
    endpoint: str
    replica_id: str
    at_us: TimeUs
    state: State
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_LENGTH)] = ""


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True, tag="endpoint_settings"):
    """The endpoint's minimum and maximum number of replicas, in effect from `at_us` on."""

    version: int = VERSION
    namespace: str
    endpoint: str
    at_us: TimeUs
    min_replicas: Replicas
    max_replicas: Replicas


ReplicaMessage = ReplicaState | EndpointSettings
