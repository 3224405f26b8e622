"""Keeps the Kafka client's own complaints out of the served application's log.

They come several times a second while Kafka is away; ours come once a minute. Only records of the agent's
thread are held back, so an application that uses the same client sees its own.
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
    """Lets a record pass unless the thread that made this filter logged it."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is another thread's."""
        return record.thread != self._thread


@contextmanager
def quiet_client() -> Iterator[None]:
    """Hold back what the Kafka client logs in this thread, unless `endpoint_analytics` is set to DEBUG."""
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
