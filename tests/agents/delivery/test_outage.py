"""What is logged of an outage that several connections see."""

from __future__ import annotations

import asyncio
import logging

from endpoint_analytics.agents.delivery.outage import READS, Outage


async def why() -> str:
    return "it is down"


def test_it_ends_when_nobody_is_in_trouble_any_longer(caplog):
    """A partition without a leader is in trouble while others are not."""
    caplog.set_level(logging.INFO)

    async def run() -> None:
        outage = Outage("kafka:9092")
        for _ in range(3):
            await outage.complain(why, "one")
            outage.end("other")
        outage.end("one")
        outage.end("one")

    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == [
        "Kafka at kafka:9092 does not accept messages; retrying (the application is not affected): it is down",
        "Kafka at kafka:9092 accepts messages again",
    ]


def test_a_reader_says_so(caplog):
    asyncio.run(Outage("kafka:9092", READS).complain(why))
    assert caplog.messages == ["Kafka at kafka:9092 cannot be read; retrying: it is down"]
