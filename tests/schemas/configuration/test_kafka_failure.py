"""What a client of Kafka says if nobody answers its questions; whom a real Kafka refuses is in tests/faults."""

import asyncio
import socket

import pytest

from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import find_unreadable, find_unwritable


@pytest.mark.parametrize(
    "question",
    [
        lambda config: find_unwritable(config, None, ["requests"]),
        lambda config: find_unreadable(config, None, ["requests"], "workers"),
    ],
    ids=["may it be written to", "may it be read"],
)
def test_without_an_answer_nobody_is_said_to_have_the_right(question) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        config = KafkaConfig(bootstrap_servers=f"127.0.0.1:{taken.getsockname()[1]}")
        assert asyncio.run(question(config)) is None
