"""Sends a backlog to Kafka in groups, at a bounded rate, because it shares the CPU with the served model."""

from __future__ import annotations

import logging

from endpoint_analytics.agents.delivery.producer import Outgoing, Producer, TooLargeError
from endpoint_analytics.agents.spool.spool_outbox import SpoolOutbox

logger = logging.getLogger("endpoint_analytics")

GROUP_MESSAGES, GROUP_BYTES = 64, 256 * 1024
"""Limits of one group."""

MESSAGES_PER_S, BYTES_PER_S = 2_000, 8 * 1024 * 1024


def pause_s(messages: int, size_bytes: int) -> float:
    """Return how long to wait after sending this much of a backlog."""
    return max(messages / MESSAGES_PER_S, size_bytes / BYTES_PER_S)


async def send_group(
    producer: Producer,
    topic: str,
    messages: list[Outgoing],
    counter: SpoolOutbox,
    prefix: str = "",
) -> int:
    """Send messages in order; returns how many were too large for Kafka, and counts those as dropped."""
    try:
        await producer.send_all(topic, messages)
    except TooLargeError as error:
        if len(messages) > 1:
            return sum([await send_group(producer, topic, [one], counter, prefix) for one in messages])
        counter.count_dropped(f"{prefix}too_large")
        logger.warning("dropped a message that is too large for Kafka: %s", error)
        return 1
    return 0
