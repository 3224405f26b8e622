"""The JSON API's response models: one struct per response, used for both the bytes and the OpenAPI document.

Only models belong here. Moments are Unix seconds, durations are seconds, and None means unknown: a gap.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from endpoint_analytics.schemas.replicas import ShownState

JSON, PROBLEM = "application/json", "application/problem+json"

Seconds = Annotated[float, Meta(description="Unix seconds")]
Values = Annotated[
    list[float | int | None],
    Meta(description="One for each moment of `at`; null where nothing is known about the step"),
]
Group = Literal["requests", "pending", "latency", "ttfb", "replicas", "hardware", "engine"]
GROUPS: tuple[Group, ...] = get_args(Group)
Part = Literal["summary", "replicas", "timeline", "events"]
PARTS: tuple[Part, ...] = get_args(Part)
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
    """The body of every error: problem details (RFC 9457) with a hint on how to fix it."""

    type: str
    title: Annotated[str, Meta(description="The status in words")]
    status: int
    detail: Annotated[str, Meta(description="What is wrong")]
    where: Annotated[str, Meta(description="A parameter, a path, a header, or a part of the pipeline")]
    hint: Annotated[str, Meta(description="How to fix it")]


class Namespaces(Struct, frozen=True):
    """The namespaces with data that the token or session may see."""

    namespaces: list[str]


class Session(Struct, frozen=True):
    """What the page is signed in to. `all`: an operator's token, valid for every namespace."""

    namespaces: list[str]
    all: bool
    expires_at: Seconds | None


class SignIn(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /session."""

    token: Annotated[str, Meta(max_length=512)]


class Spark(Struct, frozen=True):
    """Small series of the last 30 minutes, one value for each moment of `at` in the list."""

    requests: Annotated[Values, Meta(description="Requests with a final status in the step")]
    errors: Annotated[Values, Meta(description="Those of them with status 5xx")]
    p95: Annotated[Values, Meta(description="95th percentile of the latency, in seconds")]
    pending: Annotated[Values, Meta(description="Time-weighted mean of pending requests")]


class EndpointCard(Struct, frozen=True):
    """One endpoint on the overview page. Rates, shares and p95 are over the last `over_seconds`."""

    endpoint: str
    running: Annotated[int | None, Meta(description="Replicas running now; null if unknown")]
    replicas: Annotated[int | None, Meta(description="Replicas in a state other than terminated and failed")]
    unknown_since: Annotated[
        Seconds | None,
        Meta(
            description="Since when the pipeline is late, so that running replicas are unknown; null if known"
        ),
    ]
    min_replicas: int | None
    max_replicas: int | None
    request_rate: Annotated[float | None, Meta(description="Requests with a final status, per second")]
    error_share: Annotated[
        float | None, Meta(description="Share of 5xx among them, 0 to 1; null without requests")
    ]
    p95_seconds: float | None
    pending: Annotated[
        int | None,
        Meta(description="Requests pending now in live replicas; null if none is live or it is unknown"),
    ]
    newest_at: Annotated[Seconds | None, Meta(description="End of the newest stored interval")]
    spark: Spark


class Paused(Struct, frozen=True):
    """A Kafka partition that the worker stopped reading because nearly all its messages were unusable.

    Nothing is known since then about replicas whose agents send to it; their messages wait in Kafka.
    """

    stream: str
    partition: int
    since: Seconds
    reason: str
    command: Annotated[str, Meta(description="Makes the worker resume reading and reject what it cannot use")]


class Endpoints(Struct, frozen=True):
    """All endpoints of a namespace, by name."""

    namespace: str
    step: int
    over_seconds: int
    at: Annotated[list[int], Meta(description="Starts of the sparklines' steps, Unix seconds")]
    endpoints: list[EndpointCard]
    paused: Annotated[list[Paused], Meta(description="Paused partitions, whichever endpoints send to them")]


class Series(Struct, frozen=True, omit_defaults=True):
    """One line of a graph; `replica` and `device` are present only with details=true."""

    group: Group
    name: str
    unit: Unit
    values: Values
    replica: str | None = None
    device: str | None = None


class ClassCount(Struct, frozen=True):
    """Requests of a status class, and their share of all with a final status."""

    name: Annotated[str, Meta(description="2xx, 3xx, 4xx or 5xx")]
    count: int
    share: Annotated[float | None, Meta(description="0 to 1; null when no request got a final status")]


class AbortedShare(Struct, frozen=True):
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
    """Figures of the whole range [from, to). `covered`: whether any replica reported in it."""

    covered: bool
    arrived: int
    final: Annotated[int, Meta(description="Requests that got a final status; 1xx is not final")]
    informational: int
    classes: list[ClassCount]
    statuses: Annotated[dict[str, int], Meta(description="Every status that was sent, 1xx included")]
    aborted: AbortedShare
    latency: Distribution
    ttfb: Distribution
    pending_mean: float | None
    pending_max: int | None
    oldest_pending: Annotated[
        float | None, Meta(description="The longest time that a request waited, in seconds")
    ]


class StateSpan(Struct, frozen=True, rename={"from_": "from"}):
    """A time that a replica spent in a state. `to` is null for the current state, whose `seconds` still grows.

    `unknown` means that the pipeline is late: nothing is known about the replica since then.
    """

    state: ShownState
    from_: Seconds
    to: Seconds | None
    seconds: float | None
    reason: str
    inferred: Annotated[
        bool, Meta(description="Inferred from heartbeats or their absence, not reported by an event")
    ]


class Replica(Struct, frozen=True):
    """A replica seen in the range. `unassigned` holds requests that wait while none runs; it has no state."""

    replica: str
    state: ShownState | None
    unknown_since: Annotated[Seconds | None, Meta(description="null if its state is known")]
    unknown_reason: Annotated[
        str,
        Meta(
            description="The paused partition that makes its state, or only `pending`, unknown; empty if none"
        ),
    ]
    first_seen: Seconds | None
    last_seen: Seconds | None
    boots: Annotated[int, Meta(description="Starts of its agent, including copies")]
    copies: Annotated[
        int,
        Meta(
            description="Processes that sent under the identity of another (a snapshot restored twice), counted apart"
        ),
    ]
    conflicting_batches: Annotated[
        int,
        Meta(
            description="Batches left out of all figures, because more than nine processes sent under one identity"
        ),
    ]
    pending: Annotated[
        int | None, Meta(description="Requests pending now; 0 if the replica is not live, null if unknown")
    ]


class Bar(Struct, frozen=True):
    """A replica's bar in the timeline. `ready_seconds`: from the first state of its newest start until it ran; null
    if that is unknown, as for a start that was first reported running.
    """

    replica: str
    states: list[StateSpan]
    ready_seconds: float | None


class ScaleEvent(Struct, frozen=True):
    """A change of the scaling settings, or a replica's change of state."""

    at: Seconds
    kind: Literal["settings", "state"]
    replica: str | None
    state: ShownState | None
    reason: str
    min_replicas: int | None
    max_replicas: int | None
    running: Annotated[int | None, Meta(description="Running replicas right after the event")]


class Loss(Struct, frozen=True, rename={"from_": "from"}):
    """Requests of a replica that are in no figure: they were lost between `from` and `to`."""

    replica: str
    from_: Seconds
    to: Seconds
    requests: Annotated[
        int, Meta(description="Requests its agent could not record, and those in batches that never arrived")
    ]
    batches: Annotated[int, Meta(description="Batches of requests that never arrived")]
    reasons: Annotated[dict[str, int], Meta(description="Requests by reason")]


class Conflict(Struct, frozen=True, rename={"from_": "from"}):
    """Batches that arrived between `from` and `to` and are in no figure: too many processes sent under one identity."""

    replica: str
    stream: Annotated[str, Meta(description="requests, hardware or engine")]
    from_: Seconds
    to: Seconds
    batches: int


class Answer(Struct, frozen=True, omit_defaults=True, rename={"from_": "from"}):
    """Series and the other requested parts, all for the same range, replicas and moment.

    Steps are [at, at + step). Those from `incomplete_from` on may still change: poll with
    `since=<incomplete_from>` for them and newer ones.
    """

    namespace: str
    endpoint: str
    from_: Annotated[int, Meta(description="Start of the range, aligned to a step")]
    to: Annotated[int, Meta(description="End of the range, aligned to a step")]
    step: Annotated[int, Meta(description="Seconds")]
    level: Annotated[
        int, Meta(description="Length in seconds of the stored windows that the figures come from")
    ]
    at: Annotated[list[int], Meta(description="Starts of the steps")]
    incomplete_from: Annotated[
        int | None, Meta(description="First step that may still change; null if none will change soon")
    ]
    newest_at: Annotated[Seconds | None, Meta(description="End of the endpoint's newest stored interval")]
    series: list[Series]
    replica: str | None = None
    summary: Summary | None = None
    replicas: list[Replica] | None = None
    timeline: list[Bar] | None = None
    events: list[ScaleEvent] | None = None
    losses: Annotated[
        list[Loss] | None,
        Meta(description="Losses whose time overlaps the range; omitted if there are none"),
    ] = None
    conflicts: Annotated[
        list[Conflict] | None,
        Meta(description="Batches in no figure whose time overlaps the range; omitted if there are none"),
    ] = None
    unknown_since: Annotated[
        Seconds | None,
        Meta(
            description="Since when the pipeline is late, so that running replicas are unknown. Omitted if they are"
            " known, and if no replicas were requested"
        ),
    ] = None
    paused: Annotated[
        list[Paused] | None,
        Meta(
            description="Paused partitions, whichever endpoints send to them. Omitted if there are none,"
            " and if no replicas were requested"
        ),
    ] = None


class ReplicaLoad(Struct, frozen=True):
    """The load of a replica over the last seconds; null means unknown. `unassigned` has no state."""

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
    """An endpoint's signals for an autoscaler. An unknown figure is null, never 0."""

    namespace: str
    endpoint: str
    as_of: Annotated[Seconds, Meta(description="When the broker appended the newest message of an agent")]
    age_seconds: float
    window_seconds: Annotated[int, Meta(description="Window over which request figures are averaged")]
    hardware_window_seconds: Annotated[
        int, Meta(description="Window over which hardware figures are averaged")
    ]
    running_replicas: int
    late_replicas: Annotated[
        int,
        Meta(description="Running replicas whose figures are late; the others are taken to represent them"),
    ]
    silent_replicas: Annotated[
        int, Meta(description="Went silent in the last 5 minutes without signing off; not counted as running")
    ]
    pending_requests: Annotated[float | None, Meta(description="Total of the endpoint")]
    pending_per_replica: Annotated[
        float | None, Meta(description="Per running replica, or divided by 1 if none is running")
    ]
    active_requests: Annotated[float | None, Meta(description="Pending and streaming, total of the endpoint")]
    active_per_replica: float | None
    cpu_percent: Annotated[float | None, Meta(description="Mean over the running replicas")]
    memory_percent: float | None
    gpu_percent: float | None
    gpu_memory_percent: float | None
    replicas: list[ReplicaLoad]


def encode(model: Struct) -> bytes:
    """Return the model as JSON; NaN becomes null."""
    return msgspec.json.encode(model)
