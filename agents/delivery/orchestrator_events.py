"""Sends replica states and endpoint settings on behalf of an orchestrator, a script or a person.

An agent reports its own replica's states itself; this module is for everyone else.
"""

from __future__ import annotations

import asyncio
import ssl
import time

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from endpoint_analytics.agents.delivery.client_log_filter import quiet_client
from endpoint_analytics.agents.delivery.producer import make_producer, stop_producer
from endpoint_analytics.schemas.codec import decode_replicas, encode
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import explain_refusal, find_failure
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaMessage, ReplicaState, State
from endpoint_analytics.schemas.topics import REPLICAS

TIMEOUT_S = 10.0
RETRY_EVERY_S = 0.5


class SendError(Exception):
    """Kafka did not store the message; the text says where, why, and what to check."""


def send_replica_state(
    namespace: str,
    endpoint: str,
    replica_id: str,
    state: State,
    *,
    reason: str = "",
    at_us: int | None = None,
    kafka: KafkaConfig | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Report that a replica entered `state` at `at_us` (microseconds since 1970; now by default).

    Returns once Kafka has stored it. Raises InvalidMessageError for an invalid name, state or time, and SendError
    after `timeout_s` seconds without Kafka. Inside a running event loop, use `send_replica_message`.
    """
    message = ReplicaState(
        namespace=namespace,
        endpoint=endpoint,
        replica_id=replica_id,
        at_us=_now_us() if at_us is None else at_us,
        state=state,
        reason=reason,
    )
    asyncio.run(send_replica_message(message, kafka, timeout_s))


def send_endpoint_settings(
    namespace: str,
    endpoint: str,
    *,
    min_replicas: int,
    max_replicas: int,
    at_us: int | None = None,
    kafka: KafkaConfig | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Report the endpoint's minimum and maximum number of replicas, effective from `at_us`.

    Returns and raises as `send_replica_state` does.
    """
    message = EndpointSettings(
        namespace=namespace,
        endpoint=endpoint,
        at_us=_now_us() if at_us is None else at_us,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
    )
    asyncio.run(send_replica_message(message, kafka, timeout_s))


async def send_replica_message(
    message: ReplicaMessage, kafka: KafkaConfig | None = None, timeout_s: float = TIMEOUT_S
) -> None:
    """Send one message of the replicas topic; returns and raises as `send_replica_state` does."""
    value = encode(message)
    decode_replicas(value)  # raises here for anything the worker would reject
    replica_id = message.replica_id if isinstance(message, ReplicaState) else ""
    key = partition_key(message.namespace, message.endpoint, replica_id)
    config = kafka or KafkaConfig()
    topic = REPLICAS.name(config.topic_prefix)
    ssl_context = make_ssl_context(config)
    with quiet_client():
        try:
            async with asyncio.timeout(timeout_s):
                producer = await _connect(config, ssl_context)
        except TimeoutError as error:
            found = await find_failure(config, ssl_context)
            why = found or "it responds now: try again with a longer timeout"
            raise SendError(
                f"Kafka at {config.bootstrap_servers} cannot be used (tried for {timeout_s:g} s): {why}"
            ) from error
        try:
            async with asyncio.timeout(timeout_s):
                await producer.send_and_wait(topic, value=value, key=key)
        except (TimeoutError, KafkaError, OSError) as error:
            cause = f"no response within {timeout_s:g} s" if isinstance(error, TimeoutError) else repr(error)
            found = explain_refusal(error, config) or await find_failure(config, ssl_context)
            why = found or f"{cause}. Check that the topic exists and that this user may write to it"
            raise SendError(
                f"Kafka at {config.bootstrap_servers} did not store a message for the topic {topic}: {why}"
            ) from error
        finally:
            await stop_producer(producer, 1.0)


async def _connect(config: KafkaConfig, ssl_context: ssl.SSLContext | None) -> AIOKafkaProducer:
    """Return a connected producer; retries until cancelled."""
    while True:
        producer = make_producer(config, ssl_context)
        try:
            await producer.start()
        except (KafkaError, OSError):
            await stop_producer(producer, 1.0)
            await asyncio.sleep(RETRY_EVERY_S)
        except BaseException:
            await stop_producer(producer, 1.0)
            raise
        else:
            return producer


def _now_us() -> int:
    return time.time_ns() // 1_000
