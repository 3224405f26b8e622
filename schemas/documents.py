"""JSON Schema and AsyncAPI documents of what the topics carry, made of the message types.

`python -m endpoint_analytics.schemas.documents` writes them into schemas/json; a test says whether they are
current. The codec is what counts: a schema cannot say that columns are equally long or counts conserved.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson

from endpoint_analytics.schemas import examples
from endpoint_analytics.schemas.engine import EngineBatch
from endpoint_analytics.schemas.hardware import HardwareBatch
from endpoint_analytics.schemas.limits import MAX_NAME_LENGTH
from endpoint_analytics.schemas.rejected import Rejected
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaState
from endpoint_analytics.schemas.requests import RequestBatch
from endpoint_analytics.schemas.signals import AutoscalingSignal
from endpoint_analytics.schemas.topics import (
    DEFAULT_PREFIX,
    ENGINE,
    HARDWARE,
    REJECTED,
    REPLICAS,
    REQUESTS,
    SIGNALS,
    TOPIC_CONFIG,
    TOPICS,
    Topic,
)

Document = dict[str, Any]

DIRECTORY = Path(__file__).parent / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
REPLICA_KEY = "namespace/endpoint/replica_id: what one replica sends keeps its order"

# `$` alone matches before a line feed at the end too.
_NAME = {
    "pattern": r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(?!\n)$",
    "minLength": 1,
    "maxLength": MAX_NAME_LENGTH,
}
_NAMES = frozenset({"namespace", "endpoint", "replica_id", "boot_id"})

# Of a member of any type, or of one type: "Type.member".
DESCRIPTIONS = {
    "version": "Version of the message's format",
    "type": "Which of the topic's messages this is",
    "namespace": "Owner of the endpoint",
    "endpoint": "Name behind which the replicas serve",
    "replica_id": "Replica; unassigned for requests held at the endpoint while no replica runs",
    "boot_id": "One start of the replica's agent: seq and totals begin anew with it",
    "seq": "Number of the batch within the boot: 0, 1, 2 ...",
    "start_us": "Start of the interval, in microseconds since 1970 (UTC)",
    "end_us": "End of the interval, in microseconds since 1970 (UTC)",
    "at_us": "When each row happened, in microseconds after start_us; all columns of a phase are equally long",
    "status": "HTTP status code of each row",
    "wait_us": "Arrival to status (time to first byte) of each row, in microseconds",
    "duration_us": "Arrival to last byte (latency) of each row, in microseconds",
    "age_us": "Arrival to the early end of each row, in microseconds",
    "pending": "Requests without an HTTP status yet at start_us",
    "streaming": "Requests whose status is sent and last byte is not, at start_us",
    "oldest_pending_us": "Age of the oldest pending request at end_us, in microseconds; 0 when none is pending",
    "RequestBatch.arrived": "Requests that arrived in the interval",
    "RequestBatch.informational": "Interim 1xx statuses that were sent in the interval",
    "RequestBatch.responded": "Requests whose final HTTP status was sent in the interval",
    "RequestBatch.finished": "Requests whose last byte was sent in the interval",
    "RequestBatch.aborted_pending": "Requests that ended in the interval before a status was sent",
    "RequestBatch.aborted_streaming": "Requests that ended in the interval after a status, before the last byte",
    "RequestBatch.totals": "The agent's own counts since the boot, this batch included",
    "Totals.arrived": "Requests that arrived since the boot",
    "Totals.finished": "Requests whose last byte was sent since the boot",
    "Totals.aborted_pending": "Requests that ended since the boot before a status was sent",
    "Totals.aborted_streaming": "Requests that ended since the boot after a status, before the last byte",
    "Totals.status": "How often each HTTP status (the member's name) was sent since the boot",
    "Totals.wait_us": "Sum of arrival to status since the boot, in microseconds",
    "Totals.duration_us": "Sum of arrival to last byte since the boot, in microseconds",
    "Totals.dropped": "Requests that the agent saw and did not record since the boot, by reason",
    "Totals.dropped_batches": "Batches that the agent gave up since the boot, by reason",
    "HardwareBatch.at_us": "When each sample was taken, in microseconds after start_us; every column is as long",
    "HardwareBatch.replica": "Column of readings by metric; a metric's name ends with its unit; null: no reading",
    "HardwareBatch.accelerators": "The replica's GPUs",
    "Accelerator.device": "gpu0, gpu1 ... as the replica sees them",
    "Accelerator.readings": "Column of readings by metric; a metric's name ends with its unit; null: no reading",
    "Accelerator.uuid": "The device's own identifier",
    "Accelerator.name": "The device's model",
    "EngineBatch.at_us": "When each sample was taken, in microseconds after start_us; every column is as long",
    "EngineBatch.engine": "Engine whose metrics these are: vllm, tgi, tei, triton, sglang ...; empty for another",
    "EngineBatch.readings": "Column of readings by metric; a metric's name ends with its unit; null: no reading",
    "ReplicaState.at_us": "When the replica entered the state, in microseconds since 1970 (UTC)",
    "ReplicaState.state": "State that the replica entered",
    "ReplicaState.reason": "Why, for people",
    "EndpointSettings.at_us": "From when on the settings are in force, in microseconds since 1970 (UTC)",
    "EndpointSettings.min_replicas": "Minimum number of replicas",
    "EndpointSettings.max_replicas": "Maximum number of replicas, at least the minimum",
    "AutoscalingSignal.at_us": "Moment that is spoken of, in microseconds since 1970 (UTC)",
    "AutoscalingSignal.as_of_us": "When the broker took the newest that agents told, in microseconds since 1970",
    "AutoscalingSignal.window_us": "Means of requests are over so many microseconds",
    "AutoscalingSignal.hardware_window_us": "Means of hardware are over so many microseconds",
    "AutoscalingSignal.running_replicas": "Replicas that run",
    "AutoscalingSignal.late_replicas": "Of these, such whose figures are late: the others stand for them",
    "AutoscalingSignal.silent_replicas": "Replicas that fell silent without a goodbye within 5 minutes; not counted",
    "AutoscalingSignal.pending_requests": "Pending requests of the endpoint; absent when not known",
    "AutoscalingSignal.pending_per_replica": "Pending requests a running replica, or in all when none runs",
    "AutoscalingSignal.active_requests": "Pending and streaming requests of the endpoint; absent when not known",
    "AutoscalingSignal.active_per_replica": "Pending and streaming requests a running replica",
    "AutoscalingSignal.replicas": "The replicas that are present, and unassigned",
    "ReplicaSignal.state": "State that the replica is in; absent for unassigned",
    "ReplicaSignal.pending_requests": "Pending requests; absent when not known",
    "ReplicaSignal.streaming_requests": "Streaming requests; absent when not known",
    "cpu_percent": "CPU per cent; absent when not known",
    "memory_percent": "Memory used of its limit, in per cent; absent when not known",
    "gpu_percent": "GPU per cent; absent when not known",
    "gpu_memory_percent": "GPU memory used of all there is, in per cent; absent when not known",
    "Rejected.topic": "Topic of the message that could not be used",
    "Rejected.partition": "Its partition",
    "Rejected.offset": "Its offset",
    "Rejected.append_time_ms": "When the broker appended it, in milliseconds since 1970 (UTC)",
    "Rejected.reason": "Why it cannot be used, one of a fixed set",
    "Rejected.detail": "What exactly is wrong, for people",
    "Rejected.value": "The message itself, base64, cut after 64 KiB",
    "Rejected.value_bytes": "Whole size of the message, in bytes",
}


@dataclass(frozen=True, slots=True)
class MessageDocument:
    """A kind of message: its topic, its type, an example, and the Kafka key it is sent with."""

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
    MessageDocument("replica_state", "Replica state", REPLICAS, ReplicaState, examples.REPLICA_STATE),
    MessageDocument(
        "endpoint_settings",
        "Endpoint settings",
        REPLICAS,
        EndpointSettings,
        examples.ENDPOINT_SETTINGS,
        key="namespace/endpoint/: what is said of one endpoint keeps its order",
    ),
    MessageDocument("rejected", "Rejected message", REJECTED, Rejected, examples.REJECTED, key=""),
    MessageDocument(
        "autoscaling_signal",
        "Autoscaling signal",
        SIGNALS,
        AutoscalingSignal,
        examples.AUTOSCALING_SIGNAL,
        key="namespace/endpoint/: signals of one endpoint keep their order",
    ),
)

_ABOUT = {
    REQUESTS: "What happened to requests: at least one message a second from each replica, also when idle.",
    HARDWARE: "Samples of processor, memory and GPUs, from each replica.",
    ENGINE: "What serving engines tell of themselves: queues, caches, tokens a second, from each replica.",
    REPLICAS: "States that replicas entered, and changes of endpoints' settings.",
    REJECTED: "What could not be used of the other topics. After a crash of a worker a message may come again.",
    SIGNALS: "What each endpoint had to do in the last seconds, every few seconds, for whoever scales it.",
}


def schema_document(message: MessageDocument) -> Document:
    """Return the JSON Schema 2020-12 document of one kind of message."""
    (root,), definitions = _schemas([message.type], "#/$defs/{name}")
    title = definitions[message.type.__name__]["description"].partition("\n")[0]
    return {
        "$schema": DIALECT,
        "title": message.title,
        "description": f"{title} Topic: {message.topic.name(DEFAULT_PREFIX)}.",
        "examples": [_plain(message.example)],
        **root,
        "$defs": definitions,
    }


def asyncapi_document(prefix: str = DEFAULT_PREFIX) -> Document:
    """Return the AsyncAPI 3.0 document of all topics, as a consumer sees them."""
    _, schemas = _schemas([message.type for message in MESSAGES], "#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Endpoint analytics topics",
            "version": "1.0.0",
            "description": "Requests, hardware, engines and replicas of inference endpoints, as Kafka messages.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.suffix: _channel(topic, prefix) for topic in TOPICS},
        "operations": {
            f"read_{topic.suffix}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{topic.suffix}"},
                "summary": f"Read {topic.holds}",
            }
            for topic in TOPICS
        },
        "components": {
            "messages": {message.name: _message(message) for message in MESSAGES},
            "schemas": schemas,
        },
    }


def documents() -> dict[str, bytes]:
    """Return the contents of all files of schemas/json, by name."""
    made = {f"{message.name}.json": schema_document(message) for message in MESSAGES}
    made["asyncapi.json"] = asyncapi_document()
    return {name: _encode(document) for name, document in made.items()}


def _schemas(types: Sequence[type], ref_template: str) -> tuple[tuple[Document, ...], Document]:
    roots, definitions = msgspec.json.schema_components(types, ref_template=ref_template)
    for name, definition in definitions.items():
        definition["description"] = " ".join(definition["description"].split())
        for member, schema in definition["properties"].items():
            schema["description"] = DESCRIPTIONS.get(f"{name}.{member}") or DESCRIPTIONS[member]
            if member in _NAMES:
                schema.update(_NAME)
        if "version" in definition["properties"]:
            # Readers take a message without one for version 1; whoever writes one says which it is.
            definition["properties"]["version"] = {"description": DESCRIPTIONS["version"], "const": 1}
            definition["required"] = ["version", *(n for n in definition["required"] if n != "version")]
    return roots, dict(sorted(definitions.items()))


def _channel(topic: Topic, prefix: str) -> Document:
    kafka = {
        "topic": topic.name(prefix),
        "partitions": topic.partitions,
        "topicConfiguration": {
            "retention.ms": topic.retention_ms,
            "max.message.bytes": int(TOPIC_CONFIG["max.message.bytes"]),
        },
        "bindingVersion": "0.5.0",
    }
    return {
        "address": topic.name(prefix),
        "title": topic.holds.capitalize(),
        "description": _ABOUT[topic],
        "messages": {
            message.name: {"$ref": f"#/components/messages/{message.name}"}
            for message in MESSAGES
            if message.topic is topic
        },
        "bindings": {"kafka": kafka},
    }


def _message(message: MessageDocument) -> Document:
    document: Document = {
        "name": message.name,
        "title": message.title,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{message.type.__name__}"},
        "examples": [{"name": message.name, "payload": _plain(message.example)}],
    }
    if message.key:
        key = {"type": "string", "description": message.key}
        document["bindings"] = {"kafka": {"key": key, "bindingVersion": "0.5.0"}}
    return document


def _plain(message: msgspec.Struct) -> Document:
    plain: Document = orjson.loads(msgspec.json.encode(message))
    return plain


def _encode(document: Document) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def main() -> None:
    """Write the documents, and remove what is none of them."""
    made = documents()
    DIRECTORY.mkdir(exist_ok=True)
    for path in DIRECTORY.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, content in made.items():
        (DIRECTORY / name).write_bytes(content)
        sys.stdout.write(f"wrote {DIRECTORY / name}\n")


if __name__ == "__main__":
    main()
