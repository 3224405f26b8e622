"""Messages that cannot be sent to the rejected topic block nothing, however many there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

import pytest
from aiokafka.errors import RecordTooLargeError, TopicAuthorizationFailedError

from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.core.partition import Rejection
from endpoint_analytics.pipeline.stream import rejected_sender
from endpoint_analytics.pipeline.stream.app import Worker
from endpoint_analytics.pipeline.stream.config import WorkerConfig
from endpoint_analytics.pipeline.stream.rejected_sender import RejectedSender
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig
from endpoint_analytics.schemas.errors import InvalidMessageError

REJECTIONS = [Rejection(Record(n, 0, b"junk"), InvalidMessageError("not_json", "no")) for n in range(100)]


class Topic:
    """Refuses all messages."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    async def send(self, *, value: bytes) -> Awaitable[None]:
        self.asked += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "asked"), [(TopicAuthorizationFailedError(), 1), (RecordTooLargeError(), 100)]
)
def test_a_topic_that_is_refused_is_not_asked_for_each_message(error: Exception, asked: int) -> None:
    topic = Topic(error)
    sender = RejectedSender(topic, "rejected", dict)
    asyncio.run(sender.send("requests", 0, REJECTIONS))
    assert (topic.asked, sender.unsent) == (asked, 100)


def test_what_is_waited_for_is_said_and_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected_sender, "WITHIN_S", 0.05)
    sent: list[asyncio.Future[None]] = []
    said: list[str] = []

    class Silent:
        async def send(self, *, value: bytes) -> Awaitable[None]:
            sent.append(asyncio.get_running_loop().create_future())
            return sent[-1]

    class TakesThemOnceItIsSaidTwice(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "has not stored" in (line := record.getMessage()):
                said.append(line)
                for future in sent if len(said) == 2 else sent[:60]:
                    if not future.done():
                        future.set_result(None)

    async def main() -> None:
        async with asyncio.timeout(60):
            await RejectedSender(Silent(), "ours.rejected", dict).send("requests", 0, REJECTIONS)

    handler = TakesThemOnceItIsSaidTwice()
    rejected_sender.log.addHandler(handler)
    try:
        asyncio.run(main())
    finally:
        rejected_sender.log.removeHandler(handler)
    assert len(sent) == 100
    assert [line.partition(" rejected messages")[0] for line in said] == [
        "the topic ours.rejected has not stored 100",
        "the topic ours.rejected has not stored 40",
    ]


def test_the_producer_gives_up_in_less_than_a_minute_what_no_leader_takes() -> None:
    """Otherwise its default of 20 minutes passes before the sender checks whether waiting helps."""
    worker = Worker(WorkerConfig(ClickHouseConfig()))
    settings = worker.app.producer._settings_default()
    assert settings["request_timeout_ms"] < 60_000
