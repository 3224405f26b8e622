"""Keeps the Kafka client's own warnings out of the served application's log.

The client logs several times a second while Kafka is unavailable; the agent logs once a minute. Only records from the
agent's thread are suppressed, so an application that uses the same client still sees its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

CLIENT_LOGGERS = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.consumer.subscription_state",
    "aiokafka.producer.producer",
    "aiokafka.producer.sender",
)


class OtherThreads(logging.Filter):
    """Passes a record unless it was logged by the thread that created this filter."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record comes from another thread."""
        return record.thread != self._thread


@contextmanager
def quiet_client() -> Iterator[None]:
    """Suppress what the Kafka client logs in this thread, unless the logger `endpoint_analytics` is at DEBUG."""
    if logging.getLogger("endpoint_analytics").isEnabledFor(logging.DEBUG):
        yield
        return
    others = OtherThreads()
    loggers = [logging.getLogger(name) for name in CLIENT_LOGGERS]
    for logger in loggers:
        logger.addFilter(others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(others)
