"""The Kafka topics: their names, retention and partitions. They are created by infra."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic: its contents, its retention, and its default number of partitions."""

    suffix: str
    holds: str
    retention_ms: int
    partitions: int

    def name(self, prefix: str) -> str:
        """Return the topic's full name, for instance `endpoint-analytics.requests`."""
        return f"{prefix}.{self.suffix}"


DEFAULT_PREFIX = "endpoint-analytics"

REQUESTS = Topic("requests", "request batches", 7 * DAY_MS, 8)
HARDWARE = Topic("hardware", "hardware batches", 7 * DAY_MS, 8)
ENGINE = Topic("engine", "engine batches", 7 * DAY_MS, 8)
OUTCOMES = Topic("outcomes", "outcome batches", 7 * DAY_MS, 8)
REPLICAS = Topic("replicas", "replica states and endpoint settings", 7 * DAY_MS, 8)
REJECTED = Topic("rejected", "messages that could not be used, with reason and source", 30 * DAY_MS, 1)
SIGNALS = Topic("signals", "autoscaling signals", DAY_MS, 8)

AGENT_TOPICS = (REPLICAS, REQUESTS, HARDWARE, ENGINE, OUTCOMES)
"""What agents send. States go first: they are few and small."""

TOPICS = (REQUESTS, HARDWARE, ENGINE, OUTCOMES, REPLICAS, REJECTED, SIGNALS)

ORIGIN_HEADER = "kubernetes-pod"
"""The Kafka header of replica messages from the agent for Kubernetes: cluster/namespace/pod."""

# The broker's clock timestamps every message: the worker's chunks and its limits on lateness depend on it.
TOPIC_CONFIG = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(8 * 1024 * 1024)}
