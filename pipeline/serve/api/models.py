"""What the JSON API answers: one struct a response, from which both the bytes and the OpenAPI document come.

Only models belong here. Moments are Unix seconds, durations seconds, and None is what is not known: a gap.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from endpoint_analytics.schemas.replicas import ShownState

JSON, PROBLEM = "application/json", "application/problem+json"

Seconds = Annotated[float, Meta(description="Unix seconds")]
Values = Annotated[
    list[float | int | None],
    Meta(description="One for each moment of `at`; null where nothing is known of the step"),
]
Group = Literal["requests", "pending", "latency", "ttfb", "replicas", "hardware", "engine"]
Unit = Literal[
    "requests",
    "seconds",
    "replicas",
    "percent",
    "bytes",
    "bytes_per_second",
    "watts",
    "celsius",
    "requests_per_second",
    "tokens_per_second",
    "other",
]


class Problem(Struct, frozen=True):
    """The body of every answer that is no success: problem details (RFC 9457), and what fixes it."""

    type: str
    title: Annotated[str, Meta(description="The status in words")]
    status: int
    detail: Annotated[str, Meta(description="What is wrong")]
    where: Annotated[str, Meta(description="A parameter, a path, a header, or a part of the pipeline")]
    hint: Annotated[str, Meta(description="How to fix it")]


class Namespaces(Struct, frozen=True):
    """The namespaces that the token or the session may see, those with data only."""

    namespaces: list[str]


class Session(Struct, frozen=True):
    """What the page is signed in to. `all`: an operator's token, good for every namespace."""

    namespaces: list[str]
    all: bool
    expires_at: Seconds | None


class SignIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /session."""

    token: Annotated[str, Meta(max_length=512)]


class Spark(Struct, frozen=True):
    """Small series of the last 30 minutes, one value for each moment of the list's `at`."""

    requests: Annotated[Values, Meta(description="Requests with a final status in the step")]
    errors: Annotated[Values, Meta(description="Of these, 5xx")]
    p95: Annotated[Values, Meta(description="95th percentile of the latency, in seconds")]
    pending: Annotated[Values, Meta(description="Time-weighted mean of pending requests")]


class EndpointCard(Struct, frozen=True):
    """One endpoint on the entry page. Rates, shares and p95 are over the last `over_seconds`."""

    endpoint: str
    running: Annotated[int | None, Meta(description="Replicas that run now; null while that is not known")]
    replicas: Annotated[int | None, Meta(description="Replicas in a state other than terminated and failed")]
    unknown_since: Annotated[
        Seconds | None,
        Meta(description="Since when the pipeline is late: which replicas run is not known; null: it is"),
    ]
    min_replicas: int | None
    max_replicas: int | None
    request_rate: Annotated[float | None, Meta(description="Requests with a final status, per second")]
    error_share: Annotated[float | None, Meta(description="5xx among them, 0 to 1; null without requests")]
    p95_seconds: float | None
    pending: Annotated[
        int | None,
        Meta(description="Pending now, in living replicas; null when none lives or it is not known"),
    ]
    newest_at: Annotated[Seconds | None, Meta(description="End of the newest interval that is stored")]
    spark: Spark


class Paused(Struct, frozen=True):
    """A partition of Kafka that the worker reads no further, as nearly all its messages were unusable.

    Of replicas whose agents send to it nothing is known since; what they send waits.
    """

    stream: str
    partition: int
    since: Seconds
    reason: str
    command: Annotated[str, Meta(description="Has the worker read it again, and reject what it must")]


class Endpoints(Struct, frozen=True):
    """All endpoints of a namespace, by name."""

    namespace: str
    step: int
    over_seconds: int
    at: Annotated[list[int], Meta(description="Starts of the sparklines' steps, Unix seconds")]
    endpoints: list[EndpointCard]
    paused: Annotated[list[Paused], Meta(description="Partitions that are not read, whoever sends to them")]


class Series(Struct, frozen=True, omit_defaults=True):
    """One line of a graph; `replica` and `device` are there with details=true only."""

    group: Group
    name: str
    unit: Unit
    values: Values
    replica: str | None = None
    device: str | None = None


class ClassCount(Struct, frozen=True):
    """A box: requests of a status class, and their share of all with a final status."""

    name: Annotated[str, Meta(description="2xx, 3xx, 4xx or 5xx")]
    count: int
    share: Annotated[float | None, Meta(description="0 to 1; null when no request got a final status")]


class Aborted(Struct, frozen=True):
    """Requests that ended before their last byte, and their share of all that ended."""

    count: int
    before_status: int
    share: float | None


class Distribution(Struct, frozen=True):
    """A distribution over the whole range, in seconds; null without requests."""

    count: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None


class Summary(Struct, frozen=True):
    """The boxes: figures of the whole range [from, to). `covered`: whether any replica reported in it."""

    covered: bool
    arrived: int
    final: Annotated[int, Meta(description="Requests that got a final status; 1xx are none")]
    informational: int
    classes: list[ClassCount]
    statuses: Annotated[dict[str, int], Meta(description="Every status that was sent, 1xx included")]
    aborted: Aborted
    latency: Distribution
    ttfb: Distribution
    pending_mean: float | None
    pending_max: int | None
    oldest_pending: Annotated[float | None, Meta(description="The longest that one waited, in seconds")]


class StateSpan(Struct, frozen=True, rename={"from_": "from"}):
    """A time that a replica spent in a state; `to` is null while it is in it, `seconds` then goes on.

    In `unknown`, the pipeline is late: nothing is known of the replica since.
    """

    state: ShownState
    from_: Seconds
    to: Seconds | None
    seconds: float | None
    reason: str
    inferred: Annotated[bool, Meta(description="Told by heartbeats or their absence, not by an event")]


class Replica(Struct, frozen=True):
    """A replica that was seen in the range. `unassigned` holds requests while none runs: it has no state."""

    replica: str
    state: ShownState | None
    unknown_since: Annotated[Seconds | None, Meta(description="null: its state is known")]
    unknown_reason: Annotated[
        str,
        Meta(
            description="The paused partition that its state, or `pending` alone, waits for; empty where there is none"
        ),
    ]
    first_seen: Seconds | None
    last_seen: Seconds | None
    boots: Annotated[int, Meta(description="Starts of its agent, and copies of it")]
    copies: Annotated[
        int,
        Meta(
            description="Processes that sent as one that was there (a snapshot restored twice), counted apart"
        ),
    ]
    conflicting_batches: Annotated[
        int, Meta(description="Batches that are in no figure, as more than nine processes sent as one")
    ]
    pending: Annotated[
        int | None, Meta(description="Now; 0 when it does not live, null while it is not known")
    ]


class Bar(Struct, frozen=True):
    """A replica's bar of the timeline. `ready_seconds`: from its first state to running, the first time."""

    replica: str
    states: list[StateSpan]
    ready_seconds: float | None


class ScaleEvent(Struct, frozen=True):
    """Settings that changed, or a replica that entered a state."""

    at: Seconds
    kind: Literal["settings", "state"]
    replica: str | None
    state: ShownState | None
    reason: str
    min_replicas: int | None
    max_replicas: int | None
    running: Annotated[int | None, Meta(description="Running replicas right after it")]


class Loss(Struct, frozen=True, rename={"from_": "from"}):
    """Requests of a replica that are in no figure: they were lost at some time between `from` and `to`."""

    replica: str
    from_: Seconds
    to: Seconds
    requests: Annotated[
        int, Meta(description="That its agent could not record, and those in batches that never came")
    ]
    batches: Annotated[int, Meta(description="Batches of requests that never came")]
    reasons: Annotated[dict[str, int], Meta(description="Requests by reason")]


class Conflict(Struct, frozen=True, rename={"from_": "from"}):
    """Batches that came between `from` and `to` and are in no figure: too many processes sent as one."""

    replica: str
    stream: Annotated[str, Meta(description="requests, hardware or engine")]
    from_: Seconds
    to: Seconds
    batches: int


class Answer(Struct, frozen=True, omit_defaults=True, rename={"from_": "from"}):
    """Series and what else was asked for, all of the same range, replicas and moment.

    Steps are [at, at + step). Those from `incomplete_from` on may still change: ask with
    `since=<incomplete_from>` for them and what is new.
    """

    namespace: str
    endpoint: str
    from_: Annotated[int, Meta(description="Start of the range, on a step")]
    to: Annotated[int, Meta(description="End of the range, on a step")]
    step: Annotated[int, Meta(description="Seconds")]
    level: Annotated[int, Meta(description="Seconds of the stored windows that the figures come from")]
    at: Annotated[list[int], Meta(description="Starts of the steps")]
    incomplete_from: Annotated[int | None, Meta(description="null: no step of the range can change soon")]
    newest_at: Annotated[Seconds | None, Meta(description="End of the endpoint's newest stored interval")]
    series: list[Series]
    replica: str | None = None
    summary: Summary | None = None
    replicas: list[Replica] | None = None
    timeline: list[Bar] | None = None
    events: list[ScaleEvent] | None = None
    losses: Annotated[
        list[Loss] | None,
        Meta(description="Lost in a time that touches the range; left out where nothing was"),
    ] = None
    conflicts: Annotated[
        list[Conflict] | None,
        Meta(
            description="Batches in no figure, in a time that touches the range; left out where there are none"
        ),
    ] = None
    unknown_since: Annotated[
        Seconds | None,
        Meta(
            description="Since when the pipeline is late: which replicas run is not known. Left out while it is,"
            " and where no replicas were asked for"
        ),
    ] = None
    paused: Annotated[
        list[Paused] | None,
        Meta(
            description="Partitions that are not read, whoever sends to them. Left out where none is,"
            " and where no replicas were asked for"
        ),
    ] = None


class ReplicaLoad(Struct, frozen=True):
    """What a replica had to do in the last seconds; null is what is not known. `unassigned` has no state."""

    replica: str
    state: ShownState | None
    as_of: Seconds | None
    pending_requests: Annotated[float | None, Meta(description="Mean over `window_seconds`")]
    streaming_requests: Annotated[float | None, Meta(description="Mean over `window_seconds`")]
    cpu_percent: float | None
    memory_percent: float | None
    gpu_percent: float | None
    gpu_memory_percent: float | None


class Autoscaling(Struct, frozen=True):
    """What an autoscaler reads of an endpoint. A figure that is not known is null, never 0."""

    namespace: str
    endpoint: str
    as_of: Annotated[Seconds, Meta(description="When the broker took the newest that an agent told")]
    age_seconds: float
    window_seconds: Annotated[int, Meta(description="Of means of requests")]
    hardware_window_seconds: Annotated[int, Meta(description="Of means of hardware")]
    running_replicas: int
    late_replicas: Annotated[
        int, Meta(description="Of these, such whose figures are late: the others stand for them")
    ]
    silent_replicas: Annotated[
        int, Meta(description="Fell silent without a goodbye within 5 minutes; not counted")
    ]
    pending_requests: Annotated[float | None, Meta(description="Of the whole endpoint")]
    pending_per_replica: Annotated[
        float | None, Meta(description="For each running replica, or for 1 when none runs")
    ]
    active_requests: Annotated[float | None, Meta(description="Pending and streaming, of the whole endpoint")]
    active_per_replica: float | None
    cpu_percent: Annotated[float | None, Meta(description="Mean over the running replicas")]
    memory_percent: float | None
    gpu_percent: float | None
    gpu_memory_percent: float | None
    replicas: list[ReplicaLoad]


def encode(shape: Struct) -> bytes:
    """Return the shape as JSON; NaN becomes null."""
    return msgspec.json.encode(shape)
