"""The AsyncAPI document of the Kafka topics: servers, channels, and who sends and reads which messages.

Only its assembly. The description of each message is in `message_schemas`, the topics are in `topics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from endpoint_analytics.schemas.brokers import DEFAULT_BOOTSTRAP_SERVERS, MECHANISMS, PROTOCOLS
from endpoint_analytics.schemas.examples import REQUEST_BATCH
from endpoint_analytics.schemas.identity import NAME, partition_key
from endpoint_analytics.schemas.message_schemas import (
    MESSAGES,
    REPLICA_KEY,
    Document,
    MessageDocument,
    message_schemas,
    plain,
)
from endpoint_analytics.schemas.topics import (
    AGENT_TOPICS,
    DEFAULT_PREFIX,
    ENGINE,
    HARDWARE,
    ORIGIN_HEADER,
    OUTCOMES,
    REJECTED,
    REPLICAS,
    REQUESTS,
    SIGNALS,
    TOPIC_CONFIG,
    TOPICS,
    Topic,
)

_BINDING = {"bindingVersion": "0.5.0"}
_ABOUT = {
    REQUESTS: "Request events: at least one message per second from each replica, even when idle. Agents send them "
    "packed, or as JSON if they are set to; readers should accept both.",
    HARDWARE: "Samples of processor, memory and GPUs from each replica.",
    ENGINE: "Metrics of serving engines from each replica: queues, caches, tokens per second.",
    OUTCOMES: "How requests ended, by route, model and caller: streams, tokens, sizes, and a sample of requests.",
    REPLICAS: "States that replicas entered, and changes of endpoints' settings.",
    REJECTED: "Messages of the other topics that could not be used. After a worker crash a message may be repeated.",
    SIGNALS: "The load of each endpoint over the last seconds, every few seconds, for autoscalers.",
}
# Who does what. An operation's name is the role, the verb and the topic: agent_send_requests.
_ROLES: Mapping[str, tuple[str, tuple[Topic, ...], tuple[Topic, ...]]] = {
    "agent": ("The agents beside the replicas", AGENT_TOPICS, ()),
    "worker": ("The worker, which stores everything in ClickHouse", (REJECTED,), AGENT_TOPICS),
    "signals": ("The sender of signals for autoscalers", (SIGNALS,), ()),
    "consumer": ("Your programs: a group of its own does not affect others", (), TOPICS),
}
_SCHEMES = {
    "PLAIN": ("plain", "User and password, in clear: only over TLS"),
    "SCRAM-SHA-256": ("scramSha256", "User and password"),
    "SCRAM-SHA-512": ("scramSha512", "User and password"),
}
_CERTIFICATE = "client_certificate"
_PACKED = "request_batch_packed"


VERSIONS = ("3.1.0", "3.0.0")
"""The document uses nothing that is new in 3.1, and generators of code read only 3.0."""


def asyncapi_document(prefix: str = DEFAULT_PREFIX, version: str = VERSIONS[0]) -> Document:
    """Return the document of all topics with this prefix, for this version of AsyncAPI."""
    _, schemas = message_schemas([message.type for message in MESSAGES], "#/components/schemas/{name}")
    return {
        "asyncapi": version,
        "id": "urn:endpoint-analytics:topics",
        "info": {
            "title": "Endpoint analytics topics",
            "version": "1.0.0",
            "description": "Requests, hardware, engines and replicas of inference endpoints, as Kafka messages.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "tags": [{"name": role, "description": about} for role, (about, *_) in _ROLES.items()],
        },
        "defaultContentType": "application/json",
        "servers": {protocol.lower(): _server(protocol) for protocol in PROTOCOLS},
        "channels": {topic.suffix: _channel(topic, prefix) for topic in TOPICS},
        "operations": {
            f"{role}_{verb}_{topic.suffix}": _operation(role, action, verb, topic)
            for role, (_, sent, received) in _ROLES.items()
            for action, verb, topics in (("send", "send", sent), ("receive", "read", received))
            for topic in topics
        },
        "components": {
            "messages": {message.name: _message(message) for message in MESSAGES}
            | {_PACKED: _packed_message()},
            "schemas": schemas,
            "securitySchemes": _security_schemes(),
            "serverVariables": {
                "bootstrap": {
                    "default": DEFAULT_BOOTSTRAP_SERVERS,
                    "description": "Any broker, HOST:PORT (ENDPOINT_ANALYTICS_KAFKA)",
                }
            },
        },
    }


def _server(protocol: str) -> Document:
    secure = protocol.endswith("SSL")
    found: Document = {
        "host": "{bootstrap}",
        "protocol": "kafka-secure" if secure else "kafka",
        "title": protocol,
        "description": f"Brokers with ENDPOINT_ANALYTICS_KAFKA_SECURITY_PROTOCOL={protocol}",
        "variables": {"bootstrap": {"$ref": "#/components/serverVariables/bootstrap"}},
        "bindings": {"kafka": _BINDING},
    }
    schemes: Iterable[str] = ()
    if protocol.startswith("SASL"):
        schemes = (_scheme_name(mechanism) for mechanism in MECHANISMS)
    elif secure:
        schemes = (_CERTIFICATE,)
    security = [{"$ref": f"#/components/securitySchemes/{scheme}"} for scheme in schemes]
    return found | ({"security": security} if security else {})


def _scheme_name(mechanism: str) -> str:
    return mechanism.lower().replace("-", "_")


def _security_schemes() -> Document:
    found: Document = {
        _scheme_name(mechanism): {
            "type": _SCHEMES[mechanism][0],
            "description": f"{_SCHEMES[mechanism][1]} (ENDPOINT_ANALYTICS_KAFKA_SASL_MECHANISM={mechanism})",
        }
        for mechanism in MECHANISMS
    }
    about = "A client certificate (ENDPOINT_ANALYTICS_KAFKA_CERTIFICATE_FILE), if the brokers ask for one"
    return found | {_CERTIFICATE: {"type": "X509", "description": about}}


def _channel(topic: Topic, prefix: str) -> Document:
    kafka = {
        "topic": topic.name(prefix),
        "partitions": topic.partitions,
        "topicConfiguration": {
            "cleanup.policy": ["delete"],
            "retention.ms": topic.retention_ms,
            "max.message.bytes": int(TOPIC_CONFIG["max.message.bytes"]),
            "message.timestamp.type": TOPIC_CONFIG["message.timestamp.type"],
        },
        **_BINDING,
    }
    return {
        "address": topic.name(prefix),
        "title": topic.holds.capitalize(),
        "description": _ABOUT[topic],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages_of(topic)},
        "bindings": {"kafka": kafka},
    }


def _operation(role: str, action: str, verb: str, topic: Topic) -> Document:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic.suffix}"},
        "title": f"{verb.capitalize()} {topic.suffix}",
        "summary": f"{verb.capitalize()} {topic.holds}",
        "description": f"{_ROLES[role][0]}.",
        "tags": [{"name": role}],
        "messages": [{"$ref": f"#/channels/{topic.suffix}/messages/{name}"} for name in _messages_of(topic)],
        "bindings": {"kafka": _BINDING},
    }


def _messages_of(topic: Topic) -> list[str]:
    return [message.name for message in MESSAGES if message.topic is topic] + [_PACKED] * (topic is REQUESTS)


def _message(message: MessageDocument) -> Document:
    payload = plain(message.example)
    document: Document = {
        "name": message.name,
        "title": message.title,
        "summary": f"{message.title}, on the topic {message.topic.suffix}",
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{message.type.__name__}"},
    }
    example: Document = {"name": message.name, "summary": message.title, "payload": payload}
    if message.topic is REPLICAS:
        document["headers"] = _headers()
        example["headers"] = {ORIGIN_HEADER: "/models/llm-7d9fc5b8-x2x9q"}
    if message.key:
        document["bindings"] = _key(message.key, payload)
    return document | {"examples": [example]}


def _packed_message() -> Document:
    """Return the second form of a request batch; a schema cannot describe what its bytes hold."""
    title, about = (
        "Request batch, packed",
        "A MessagePack array, version 2: docs/topics.md describes its elements",
    )
    return {
        "name": _PACKED,
        "title": title,
        "summary": f"{title}, on the topic {REQUESTS.suffix}",
        "contentType": "application/msgpack",
        "payload": {"type": "string", "format": "binary", "description": about},
        "bindings": _key(REPLICA_KEY, plain(REQUEST_BATCH)),
    }


def _key(about: str, payload: Document) -> Document:
    replica = payload.get("replica_id", "")
    key = {
        "type": "string",
        "description": about,
        "pattern": f"^{NAME}/{NAME}/{NAME if replica else ''}$",
        "examples": [partition_key(payload["namespace"], payload["endpoint"], replica).decode()],
    }
    return {"kafka": {"key": key, **_BINDING}}


def _headers() -> Document:
    about = "From the agent for Kubernetes only: cluster/namespace/pod; the cluster may be empty"
    return {
        "type": "object",
        "properties": {
            ORIGIN_HEADER: {"type": "string", "description": about, "pattern": "^[^/]*/[^/]+/[^/]*$"}
        },
    }
