"""The kinds of messages and their JSON Schemas, made from the message types, with a description of each member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from endpoint_analytics.schemas import examples
from endpoint_analytics.schemas.engine import EngineBatch
from endpoint_analytics.schemas.hardware import HardwareBatch
from endpoint_analytics.schemas.identity import NAME
from endpoint_analytics.schemas.limits import MAX_NAME_LENGTH
from endpoint_analytics.schemas.outcomes import OutcomeBatch
from endpoint_analytics.schemas.rejected import Rejected
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaState
from endpoint_analytics.schemas.requests import RequestBatch
from endpoint_analytics.schemas.signals import AutoscalingSignal
from endpoint_analytics.schemas.topics import (
    ENGINE,
    HARDWARE,
    OUTCOMES,
    REJECTED,
    REPLICAS,
    REQUESTS,
    SIGNALS,
    Topic,
)

Document = dict[str, Any]

REPLICA_KEY = "namespace/endpoint/replica_id: the messages of one replica stay in order"

# `$` alone also matches before a final line feed.
_NAME = {
    "pattern": rf"^{NAME}(?!\n)$",
    "minLength": 1,
    "maxLength": MAX_NAME_LENGTH,
}
_NAMES = frozenset({"namespace", "endpoint", "replica_id", "boot_id"})

# By member name for all types, or for one type: "Type.member".
DESCRIPTIONS = {
    "version": "Version of the message's format",
    "type": "Which of the topic's messages this is",
    "namespace": "Owner of the endpoint",
    "endpoint": "Name under which the replicas serve requests",
    "replica_id": "Replica; unassigned for requests held at the endpoint while no replica runs",
    "boot_id": "One start of the replica's agent: seq and totals restart with it",
    "seq": "Number of the batch within the boot: 0, 1, 2 ...",
    "start_us": "Start of the interval, in microseconds since 1970 (UTC)",
    "end_us": "End of the interval, in microseconds since 1970 (UTC)",
    "at_us": "When each row happened, in microseconds after start_us; all columns of a phase have equal length",
    "status": "HTTP status code of each row",
    "wait_us": "Time from arrival to status (time to first byte) of each row, in microseconds",
    "duration_us": "Time from arrival to last byte (latency) of each row, in microseconds",
    "age_us": "Time from arrival to the early end of each row, in microseconds",
    "pending": "Requests without an HTTP status yet at start_us",
    "streaming": "Requests whose status has been sent but not their last byte, at start_us",
    "oldest_pending_us": "Age of the oldest pending request at end_us, in microseconds; 0 if none is pending",
    "RequestBatch.arrived": "Requests that arrived in the interval",
    "RequestBatch.informational": "Interim 1xx statuses that were sent in the interval",
    "RequestBatch.responded": "Requests whose final HTTP status was sent in the interval",
    "RequestBatch.finished": "Requests whose last byte was sent in the interval",
    "RequestBatch.aborted_pending": "Requests that ended in the interval before a status was sent",
    "RequestBatch.aborted_streaming": "Requests that ended in the interval after a status, before the last byte",
    "RequestBatch.totals": "The agent's own counts since the boot, including this batch",
    "Totals.arrived": "Requests that arrived since the boot",
    "Totals.finished": "Requests whose last byte was sent since the boot",
    "Totals.aborted_pending": "Requests that ended since the boot before a status was sent",
    "Totals.aborted_streaming": "Requests that ended since the boot after a status, before the last byte",
    "Totals.status": "How often each HTTP status (the member's name) was sent since the boot",
    "Totals.wait_us": "Sum of the times from arrival to status since the boot, in microseconds",
    "Totals.duration_us": "Sum of the times from arrival to last byte since the boot, in microseconds",
    "Totals.dropped": "Requests that the agent saw but did not record since the boot, by reason",
    "Totals.dropped_batches": "Batches that the agent gave up since the boot, by reason",
    "HardwareBatch.at_us": "When each sample was taken, in microseconds after start_us; all columns have this length",
    "HardwareBatch.replica": "Column of readings by metric; a metric's name ends with its unit; null: no reading",
    "HardwareBatch.accelerators": "The replica's GPUs",
    "Accelerator.device": "gpu0, gpu1 ... as the replica sees them",
    "Accelerator.readings": "Column of readings by metric; a metric's name ends with its unit; null: no reading",
    "Accelerator.uuid": "The device's own identifier",
    "Accelerator.name": "The device's model",
    "EngineBatch.at_us": "When each sample was taken, in microseconds after start_us; all columns have this length",
    "EngineBatch.engine": "Serving engine of the metrics: vllm, tgi, tei, triton, sglang ...; empty for any other",
    "EngineBatch.readings": "Column of readings by metric; a metric's name ends with its unit; null: no reading",
    "OutcomeBatch.slices": "What the batch's requests are divided by; other members name a slice by its position",
    "OutcomeBatch.outcomes": "Requests that ended in the interval and of which more is told, one row each",
    "OutcomeBatch.gaps": "Times between successive events of streams: how many fell into each bucket",
    "OutcomeBatch.samples": "Single requests that failed, were slow, or were chosen at random",
    "OutcomeBatch.totals": "The agent's own counts since the boot, including this batch",
    "Slice.route": "Template of the route; empty if unknown or not asked for, other beyond the agent's limit",
    "Slice.model": "Model, adapter included; empty if unknown or not asked for, other beyond the agent's limit",
    "Slice.caller": "Caller; empty if unknown or not asked for, other beyond the agent's limit",
    "Slice.streamed": "Whether the response was a stream of events",
    "Slice.input_upto": "Class by input tokens: at most so many; 0 if unknown",
    "Outcomes.at_us": "When each request ended, in microseconds after start_us; all columns have this length",
    "Outcomes.slice": "Position of each request's slice in slices",
    "Outcomes.status": "HTTP status of each request; null if none was sent",
    "Outcomes.duration_us": "Time from arrival to the end of each request, in microseconds",
    "ended": "complete; cut: the server ended a stream before its protocol's end; error: a stream with an error event; "
    "aborted: the client left, or the connection broke",
    "first_byte_us": "Time from arrival to the first byte of the body, in microseconds; null if unknown",
    "first_token_us": "Time from arrival to the first event with content, in microseconds; null if unknown",
    "last_token_us": "Time from arrival to the last event with content, in microseconds; null if unknown",
    "events": "Events with content; null if unknown",
    "gap_max_us": "Longest time between two events with content, in microseconds; null if unknown",
    "input_tokens": "Tokens of the prompt, cached ones included; null if unknown",
    "output_tokens": "Tokens that were generated, those of reasoning included; null if unknown",
    "cached_tokens": "Tokens of the prompt that were cached; null if unknown",
    "reasoning_tokens": "Generated tokens of reasoning; null if unknown",
    "estimated": "Whether output_tokens are an estimate: the events with content",
    "request_bytes": "Size of the request's body, in bytes; null if unknown",
    "response_bytes": "Size of the response's body, in bytes; null if unknown",
    "Gaps.slice": "Position of the slice in slices",
    "Gaps.bucket": "Bucket of the latency sketch (docs/sql.md)",
    "Gaps.count": "Number of gaps in the bucket",
    "SampledRequest.why": "Why it was chosen",
    "SampledRequest.of": "The number of requests that it was chosen from",
    "SampledRequest.at_us": "When it ended, in microseconds after start_us",
    "SampledRequest.slice": "Position of its slice in slices",
    "SampledRequest.status": "HTTP status; null if none was sent",
    "SampledRequest.duration_us": "Time from arrival to its end, in microseconds",
    "SampledRequest.wait_us": "Time from arrival to status, in microseconds; null if none was sent",
    "SampledRequest.request_id": "Its X-Request-Id header; empty if there is none",
    "SampledRequest.trace_id": "Trace of its W3C traceparent header; empty if there is none",
    "OutcomeTotals.requests": "Requests in outcome batches since the boot",
    "OutcomeTotals.dropped": "Requests that the agent saw but did not record since the boot, by reason",
    "OutcomeTotals.dropped_batches": "Outcome batches that the agent gave up since the boot, by reason",
    "ReplicaState.at_us": "When the replica entered the state, in microseconds since 1970 (UTC)",
    "ReplicaState.state": "State that the replica entered",
    "ReplicaState.reason": "Human-readable reason",
    "EndpointSettings.at_us": "When the settings take effect, in microseconds since 1970 (UTC)",
    "EndpointSettings.min_replicas": "Minimum number of replicas",
    "EndpointSettings.max_replicas": "Maximum number of replicas, at least the minimum",
    "AutoscalingSignal.at_us": "Time of the signal, in microseconds since 1970 (UTC)",
    "AutoscalingSignal.as_of_us": "When the broker received the agents' newest message, in microseconds since 1970",
    "AutoscalingSignal.window_us": "Window of the means of requests, in microseconds",
    "AutoscalingSignal.hardware_window_us": "Window of the means of hardware readings, in microseconds",
    "AutoscalingSignal.running_replicas": "Running replicas",
    "AutoscalingSignal.late_replicas": "Running replicas whose data is late: the others are taken to represent them",
    "AutoscalingSignal.silent_replicas": "Replicas that fell silent unannounced in the last 5 minutes; not counted",
    "AutoscalingSignal.pending_requests": "Pending requests of the endpoint; absent if unknown",
    "AutoscalingSignal.pending_per_replica": "Pending requests per running replica, or in total if none runs",
    "AutoscalingSignal.active_requests": "Pending and streaming requests of the endpoint; absent if unknown",
    "AutoscalingSignal.active_per_replica": "Pending and streaming requests per running replica",
    "AutoscalingSignal.replicas": "The replicas that are present, and unassigned",
    "ReplicaSignal.state": "Current state of the replica; absent for unassigned",
    "ReplicaSignal.pending_requests": "Pending requests; absent if unknown",
    "ReplicaSignal.streaming_requests": "Streaming requests; absent if unknown",
    "cpu_percent": "CPU usage in percent; absent if unknown",
    "memory_percent": "Memory used, in percent of its limit; absent if unknown",
    "gpu_percent": "GPU usage in percent; absent if unknown",
    "gpu_memory_percent": "GPU memory used, in percent of the total; absent if unknown",
    "Rejected.topic": "Topic of the message that could not be used",
    "Rejected.partition": "Partition of the message",
    "Rejected.offset": "Offset of the message",
    "Rejected.append_time_ms": "When the broker appended it, in milliseconds since 1970 (UTC)",
    "Rejected.reason": "Why it cannot be used, one of a fixed set",
    "Rejected.detail": "Human-readable details of what is wrong",
    "Rejected.value": "The message itself, in base64, truncated after 64 KiB",
    "Rejected.value_bytes": "Full size of the message, in bytes",
}


@dataclass(frozen=True, slots=True)
class MessageDocument:
    """A kind of message: its topic, its type, an example, and its Kafka key."""

    name: str
    title: str
    topic: Topic
    type: type[msgspec.Struct]
    example: msgspec.Struct
    key: str = REPLICA_KEY


MESSAGES = (
    MessageDocument("request_batch", "Request batch", REQUESTS, RequestBatch, examples.REQUEST_BATCH),
    MessageDocument("hardware_batch", "Hardware batch", HARDWARE, HardwareBatch, examples.HARDWARE_BATCH),
    MessageDocument("engine_batch", "Engine batch", ENGINE, EngineBatch, examples.ENGINE_BATCH),
    MessageDocument("outcome_batch", "Outcome batch", OUTCOMES, OutcomeBatch, examples.OUTCOME_BATCH),
    MessageDocument("replica_state", "Replica state", REPLICAS, ReplicaState, examples.REPLICA_STATE),
    MessageDocument(
        "endpoint_settings",
        "Endpoint settings",
        REPLICAS,
        EndpointSettings,
        examples.ENDPOINT_SETTINGS,
        key="namespace/endpoint/: the settings of one endpoint stay in order",
    ),
    MessageDocument("rejected", "Rejected message", REJECTED, Rejected, examples.REJECTED, key=""),
    MessageDocument(
        "autoscaling_signal",
        "Autoscaling signal",
        SIGNALS,
        AutoscalingSignal,
        examples.AUTOSCALING_SIGNAL,
        key="namespace/endpoint/: the signals of one endpoint stay in order",
    ),
)


def message_schemas(types: Sequence[type], ref_template: str) -> tuple[tuple[Document, ...], Document]:
    """Return the schemas of the types, which refer to the definitions that follow."""
    roots, definitions = msgspec.json.schema_components(types, ref_template=ref_template)
    for name, definition in definitions.items():
        definition["description"] = " ".join(definition["description"].split())
        for member, schema in definition["properties"].items():
            schema["description"] = DESCRIPTIONS.get(f"{name}.{member}") or DESCRIPTIONS[member]
            if member in _NAMES:
                schema.update(_NAME)
        if "version" in definition["properties"]:
            # Readers treat a message without a version as version 1; writers must state it.
            definition["properties"]["version"] = {"description": DESCRIPTIONS["version"], "const": 1}
            definition["required"] = ["version", *(n for n in definition["required"] if n != "version")]
    return roots, dict(sorted(definitions.items()))


def plain(message: msgspec.Struct) -> Document:
    """Return a message as JSON data."""
    data: Document = orjson.loads(msgspec.json.encode(message))
    return data
