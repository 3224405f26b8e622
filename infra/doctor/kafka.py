"""Checks of Kafka: reached, logged in, topics as they should be, who may read and write, the broker's clock."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError as ClientError

from endpoint_analytics.infra.deploy.topics import TopicState, describe_topics
from endpoint_analytics.infra.deploy.topics_command import LEAST_RETENTION_BYTES, LEAST_RETENTION_HOURS
from endpoint_analytics.infra.doctor.finding import Finding, failure, ok, warning
from endpoint_analytics.schemas.configuration.kafka_client import client_settings, make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import (
    explain_failure,
    find_failure,
    find_unreadable,
    find_unwritable,
)
from endpoint_analytics.schemas.topics import AGENT_TOPICS, REJECTED, TOPIC_CONFIG, TOPICS, Topic

LARGEST_SKEW_S = 2.0
_CREATE = "endpoint-analytics topics creates it"


async def check_kafka(config: KafkaConfig, group: str | None) -> AsyncIterator[Finding]:
    """Yield what is found; `group` is the worker's consumer group, None on the machine of an agent."""
    ssl_context = make_ssl_context(config)
    if (why := await find_failure(config, ssl_context)) is not None:
        yield failure("Kafka", why)
        return
    how = config.security_protocol + (f" as {config.username}" if config.username else "")
    yield ok("Kafka", f"reached at {config.bootstrap_servers} ({how})")
    names = {topic.name(config.topic_prefix): topic for topic in TOPICS}
    if group is not None:
        lines = await find_unreadable(
            config, ssl_context, [topic.name(config.topic_prefix) for topic in AGENT_TOPICS], group
        )
        for finding in check_rights(lines, f"the topics and the group {group!r}", "read"):
            yield finding
    written = AGENT_TOPICS if group is None else (REJECTED,)
    lines = await find_unwritable(config, ssl_context, [topic.name(config.topic_prefix) for topic in written])
    whose = "an agent's topics" if group is None else "the topic of rejected messages"
    for finding in check_rights(lines, whose, "written to"):
        yield finding
    try:
        states = await describe_topics(config, ssl_context, names)
    except (ClientError, OSError) as error:
        yield warning(
            "topics",
            "their settings cannot be read: " + await explain_failure(error, config, ssl_context),
            "run the doctor as a user with the ACL DescribeConfigs, or check them with kafka-configs.sh",
        )
        return
    for name, topic in names.items():
        for finding in check_topic(topic, name, states.get(name)):
            yield finding
    for finding in check_partitions(
        {name: state.partitions for name, state in states.items()}, config.topic_prefix
    ):
        yield finding
    if group is not None:
        try:
            ahead_s = await _broker_ahead_s(config, ssl_context, states)
        except (ClientError, OSError) as error:
            yield warning(
                "Kafka", f"no topic can be read: {error}", "give this user the ACL Read on the topics"
            )
            return
        if ahead_s > LARGEST_SKEW_S:
            yield failure(
                "Kafka",
                f"the newest message was stored {ahead_s:.0f} s in the future: a broker's clock or this one's is wrong",
                "synchronize the clocks of all machines (chrony, systemd-timesyncd)",
            )


def check_rights(lines: Sequence[str] | None, what: str, done: str) -> Sequence[Finding]:
    """Return whether `what` may be read or written to; `lines` say what may not, None that no broker answered."""
    if lines is None:
        return [
            warning(
                "Kafka",
                f"whether {what} may be {done} is unknown: no broker answered the question",
                "run the doctor again; if this stays, check the brokers' logs and load",
            )
        ]
    return [failure("Kafka", line) for line in lines] or [ok("Kafka", f"{what} may be {done}")]


def check_topic(topic: Topic, name: str, state: TopicState | None) -> Sequence[Finding]:
    """Return what is found of one topic; `state` is None if it does not exist."""
    if state is None:
        return [failure("topics", f"{name} does not exist ({topic.holds})", _CREATE)]
    found = []
    alter = f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config"
    for setting, wanted in TOPIC_CONFIG.items():
        value = state.settings.get(setting)
        if setting == "max.message.bytes" and value is not None and int(value) >= int(wanted):
            continue
        if value != wanted:
            found.append(
                failure(
                    "topics", f"{name}: {setting} is {value}, not {wanted}", f"{alter} {setting}={wanted}"
                )
            )
    for setting, least, unit in (
        ("retention.ms", LEAST_RETENTION_HOURS * 3_600_000, "ms"),
        ("retention.bytes", LEAST_RETENTION_BYTES, "bytes a partition"),
    ):
        if 0 <= int(state.settings.get(setting) or -1) < least and topic in AGENT_TOPICS:
            text = f"{name} keeps {state.settings[setting]} {unit}: messages may be gone before a worker reads them"
            found.append(warning("topics", text, f"{alter} {setting}={least}"))
    if "compact" in state.settings.get("cleanup.policy", "delete"):
        found.append(
            failure("topics", f"{name} is compacted: messages are lost", f"{alter} cleanup.policy=delete")
        )
    in_sync = int(state.settings.get("min.insync.replicas") or 1)
    if in_sync > state.replication_factor:
        text = f"{name}: nothing can be written, {in_sync} of {state.replication_factor} replicas must be in sync"
        found.append(
            failure("topics", text, f"{alter} min.insync.replicas={max(state.replication_factor - 1, 1)}")
        )
    elif state.replication_factor > 1 and in_sync == state.replication_factor:
        text = f"{name}: one broker that restarts stops all writing (min.insync.replicas is {in_sync})"
        found.append(warning("topics", text, f"{alter} min.insync.replicas={in_sync - 1}"))
    elif state.replication_factor > 2 and in_sync == 1:
        text = f"{name}: a message that one broker has counts as stored (min.insync.replicas is 1)"
        found.append(warning("topics", text, f"{alter} min.insync.replicas=2"))
    return found or [
        ok(
            "topics",
            f"{name}: {state.partitions} partitions, {state.replication_factor} replicas, the broker's timestamps",
        )
    ]


def check_partitions(partitions: dict[str, int], prefix: str) -> Sequence[Finding]:
    """Return whether the topics that agents write to have the same number of partitions, as workers share them."""
    counts = {topic.name(prefix): partitions.get(topic.name(prefix)) for topic in AGENT_TOPICS}
    known = {count for count in counts.values() if count is not None}
    if len(known) < 2:
        return []
    text = ", ".join(f"{name} has {count}" for name, count in counts.items() if count is not None)
    return [
        warning(
            "topics",
            f"different numbers of partitions, so workers share them unevenly: {text}",
            f"kafka-topics.sh --alter --partitions {max(known)} --topic NAME, for those with fewer",
        )
    ]


async def _broker_ahead_s(
    config: KafkaConfig, ssl_context: ssl.SSLContext | None, states: Mapping[str, TopicState]
) -> float:
    """Return how far the newest message of any topic was stored in the future, by this machine's clock; at least 0."""
    places = [
        TopicPartition(name, number) for name, state in states.items() for number in range(state.partitions)
    ]
    if not places:  # aiokafka cannot stop a consumer that has done nothing
        return 0.0
    consumer = AIOKafkaConsumer(**client_settings(config, ssl_context), enable_auto_commit=False)
    await consumer.start()
    try:
        later_ms = int((time.time() + LARGEST_SKEW_S) * 1000)
        found = await consumer.offsets_for_times(dict.fromkeys(places, later_ms))
        return max(
            (each.timestamp / 1000 - time.time() for each in found.values() if each is not None), default=0.0
        )
    finally:
        await consumer.stop()
