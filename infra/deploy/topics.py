"""Creates missing topics, and compares existing ones with their specification without changing them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError as ClientError
from aiokafka.errors import (
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from endpoint_analytics.infra.local.kafka.errors import KafkaError, TopicMismatchError
from endpoint_analytics.schemas.configuration.kafka_client import client_settings, make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import explain_failure

VISIBLE_WITHIN_S = 30.0
_RETENTION = ("retention.ms", "retention.bytes")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """The desired state of a topic. Timestamps are the broker's (LogAppendTime) unless `config` overrides that.

    `retention_bytes` limits each partition; None leaves that to the broker.
    """

    name: str
    partitions: int
    retention_ms: int
    replication_factor: int = 1
    config: Mapping[str, str] = field(default_factory=dict)
    retention_bytes: int | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The topic's settings, named as in https://kafka.apache.org/documentation/#topicconfigs."""
        return {
            "retention.ms": str(self.retention_ms),
            "message.timestamp.type": "LogAppendTime",
            **({} if self.retention_bytes is None else {"retention.bytes": str(self.retention_bytes)}),
            **self.config,
        }


@dataclass(frozen=True, slots=True)
class TopicState:
    """The actual state of a topic: its partitions, the lowest replica count of any partition, and its settings."""

    partitions: int
    replication_factor: int
    settings: Mapping[str, str]


def differences(spec: TopicSpec, state: TopicState) -> list[str]:
    """Return one line for each setting that differs from the specification, with how to fix it."""
    lines = []
    if state.partitions != spec.partitions:
        more = state.partitions < spec.partitions
        fix = (
            f"kafka-topics.sh --alter --topic {spec.name} --partitions {spec.partitions}"
            if more
            else "Kafka cannot remove partitions: configure that number, or delete the topic and its messages"
        )
        lines.append(_line(spec.name, "partitions", state.partitions, spec.partitions, fix))
    if state.replication_factor != spec.replication_factor:
        fix = "kafka-reassign-partitions.sh, or configure that number"
        lines.append(
            _line(spec.name, "replication factor", state.replication_factor, spec.replication_factor, fix)
        )
    for name, value in spec.settings.items():
        found = state.settings.get(name)
        if found != value:
            where = f"--entity-type topics --entity-name {spec.name}"
            fix = f"kafka-configs.sh --alter {where} --add-config {name}={value}"
            lines.append(_line(spec.name, name, found, value, fix))
    return lines


def _line(topic: str, setting: str, found: object, wanted: object, fix: str) -> str:
    return f"topic {topic}: {setting} is {found}, should be {wanted}. To fix: {fix}"


async def ensure_topics(
    kafka: KafkaConfig | str, topics: Sequence[TopicSpec], *, set_retention: bool = False
) -> None:
    """Create missing topics, and return once every topic exists with the specified settings and has leaders.

    `kafka` says how to reach Kafka; a plain HOST:PORT means no TLS and no login. With `set_retention`, existing topics
    get the specified retention. Raises TopicMismatchError if topics exist with other settings, KafkaError if one
    cannot be created or changed, or the broker cannot be used.
    """
    config = KafkaConfig(bootstrap_servers=kafka) if isinstance(kafka, str) else kafka
    ssl_context = make_ssl_context(config)
    client = AIOKafkaAdminClient(**client_settings(config, ssl_context))
    try:
        await client.start()
        await _create(client, topics)
        found = await _describe(client, topics)
        if set_retention:
            found = await _set_retention(client, topics, found)
    except (ClientError, OSError) as error:
        why = await explain_failure(error, config, ssl_context)
        raise KafkaError(f"cannot set up topics on {config.bootstrap_servers}: {why}") from error
    finally:
        await client.close()
    lines = [line for spec in topics for line in differences(spec, found[spec.name])]
    if lines:
        raise TopicMismatchError("\n".join(lines))


async def describe_topics(
    config: KafkaConfig, ssl_context: ssl.SSLContext | None, names: Iterable[str]
) -> dict[str, TopicState]:
    """Return the states of those topics that exist; raises aiokafka's KafkaError."""
    client = AIOKafkaAdminClient(**client_settings(config, ssl_context))
    await client.start()
    try:
        existing = sorted(set(await client.list_topics()) & set(names))
        partitions = {topic["topic"]: topic["partitions"] for topic in await client.describe_topics(existing)}
        return _states(partitions, await _settings(client, existing))
    finally:
        await client.close()


async def _create(client: AIOKafkaAdminClient, topics: Sequence[TopicSpec]) -> None:
    # Requesting a topic by name may create it with the broker's defaults, so request the list.
    existing = set(await client.list_topics())
    new = [
        NewTopic(spec.name, spec.partitions, spec.replication_factor, topic_configs=spec.settings)
        for spec in topics
        if spec.name not in existing
    ]
    if not new:
        return
    answer = (await client.create_topics(new)).to_object()
    for result in answer["topic_errors"]:
        error = for_code(result["error_code"])
        if error is TopicAuthorizationFailedError:
            raise error(result["topic"])
        # Another process that started at the same moment may have created it.
        if result["error_code"] and error is not TopicAlreadyExistsError:
            raise KafkaError(
                f"cannot create topic {result['topic']}: {result['error_message'] or error.description}"
            )


async def _set_retention(
    client: AIOKafkaAdminClient, topics: Sequence[TopicSpec], found: dict[str, TopicState]
) -> dict[str, TopicState]:
    """Change retention where it differs; returns the topics' states. All settings of a topic are set anew."""
    changed = [spec for spec in topics if _keeps_otherwise(spec, found[spec.name])]
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, spec.name, configs=spec.settings) for spec in changed
    ]
    for response in await client.alter_configs(resources) if resources else ():
        for resource in response.to_object()["resources"]:
            if resource["error_code"]:
                why = resource["error_message"] or for_code(resource["error_code"]).description
                raise KafkaError(f"cannot set the retention of topic {resource['resource_name']}: {why}")
    with suppress(TimeoutError):  # if a broker does not see it in time, the caller finds the difference
        async with asyncio.timeout(VISIBLE_WITHIN_S):
            while any(_keeps_otherwise(spec, found[spec.name]) for spec in changed):
                await asyncio.sleep(0.05)
                found = await _describe(client, topics)
    return found


def _keeps_otherwise(spec: TopicSpec, state: TopicState) -> bool:
    return any(state.settings.get(name) != spec.settings.get(name, "-1") for name in _RETENTION)


async def _describe(client: AIOKafkaAdminClient, topics: Sequence[TopicSpec]) -> dict[str, TopicState]:
    names = sorted({spec.name for spec in topics})
    return _states(await _await_leaders(client, names), await _await_settings(client, names))


async def _await_settings(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the topics' settings. The brokers of a cluster learn of a new topic one after another: those that do not
    know it yet are asked again.
    """
    deadline = asyncio.get_running_loop().time() + VISIBLE_WITHIN_S
    while True:
        try:
            return await _settings(client, names)
        except UnknownTopicOrPartitionError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.05)


async def _settings(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for response in await client.describe_configs(resources) if resources else ():
        for resource in response.to_object()["resources"]:
            if resource["error_code"]:
                error = for_code(resource["error_code"])
                unnamed = error is not TopicAuthorizationFailedError
                raise error(resource["error_message" if unnamed else "resource_name"])
            settings[resource["resource_name"]] = {
                entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]
            }
    return settings


def _states(
    partitions: Mapping[str, Sequence[Mapping[str, Any]]], settings: Mapping[str, Mapping[str, str]]
) -> dict[str, TopicState]:
    return {
        name: TopicState(len(found), min(len(partition["replicas"]) for partition in found), settings[name])
        for name, found in partitions.items()
    }


async def _await_leaders(
    client: AIOKafkaAdminClient, names: Iterable[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the partitions of each topic, once each partition has a leader."""
    try:
        async with asyncio.timeout(VISIBLE_WITHIN_S):
            while True:
                every = {topic["topic"]: topic for topic in await client.describe_topics()}
                waiting = [name for name in names if name not in every or not _is_led(every[name])]
                if not waiting:
                    return {name: every[name]["partitions"] for name in names}
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise KafkaError(
            f"topics without leaders after {VISIBLE_WITHIN_S:g} s: {', '.join(waiting)}"
        ) from None


def _is_led(topic: Mapping[str, Any]) -> bool:
    return not topic["error_code"] and all(
        not partition["error_code"] and partition["leader"] >= 0 for partition in topic["partitions"]
    )
