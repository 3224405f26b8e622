"""Receivers in this process, over real HTTP and with whatever Kafka they are given, and a client for them."""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from tests.agents.otlp.exports import export, server_span

from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.agents.delivery.producer import Producer
from endpoint_analytics.agents.otlp.admission import Admission
from endpoint_analytics.agents.otlp.decoding import PROTOBUF
from endpoint_analytics.agents.otlp.delivery import Delivery
from endpoint_analytics.agents.otlp.identity import Fixed
from endpoint_analytics.agents.otlp.intake import Intake
from endpoint_analytics.agents.otlp.listening import listening
from endpoint_analytics.agents.otlp.memory import Memory
from endpoint_analytics.agents.otlp.receiver import Receiver
from endpoint_analytics.agents.otlp.replicas import Replicas
from endpoint_analytics.agents.otlp.roster import Roster
from endpoint_analytics.agents.otlp.settings import Limits, Unconfirmed
from endpoint_analytics.agents.otlp.state_sender import StateSender
from endpoint_analytics.agents.otlp.tally import Tally
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.topics import REPLICAS, REQUESTS

HEADERS = {"Content-Type": PROTOBUF}
SHORT = Limits(answer_s=0.05)


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(*arguments: object, **named: object) -> None:
        asyncio.run(test(*arguments, **named))

    return run


def nowhere() -> KafkaConfig:
    """A Kafka that cannot be reached."""
    return KafkaConfig(bootstrap_servers=f"127.0.0.1:{free_port('127.0.0.1')}")


@dataclass
class Running:
    """A receiver that runs."""

    url: str
    admission: Admission
    delivery: Delivery
    states: StateSender
    tally: Tally


@asynccontextmanager
async def running(
    kafka: KafkaConfig,
    *,
    token: str = "",
    limits: Limits = SHORT,
    max_waiting: int = 1_000,
    remember: int = 2_000,
    tls: ssl.SSLContext | None = None,
    sends: bool = True,
    unconfirmed: Unconfirmed = "keep",
) -> AsyncIterator[Running]:
    producer = functools.partial(Producer, kafka, None, Outage(kafka.bootstrap_servers))
    tally, memory, roster = Tally(), Memory(remember), Roster(1_000, 1_000)
    states = StateSender(REPLICAS.name(kafka.topic_prefix), producer, tally.lost_states)
    delivery = Delivery(
        producer,
        REQUESTS.name(kafka.topic_prefix),
        states,
        lambda: Replicas(900_000_000),
        memory,
        roster,
        lambda: time.time_ns() // 1_000,
        max_waiting=max_waiting,
    )
    admission = Admission(Intake(memory, roster), delivery, tally, Fixed(), frozenset())
    receiver = Receiver(admission, delivery, tally, token, limits, unconfirmed)
    sending = [asyncio.create_task(each) for each in ((delivery.run(), states.run()) if sends else ())]
    async with listening(receiver, "127.0.0.1", 0, tls) as port:
        try:
            url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
            yield Running(url, admission, delivery, states, tally)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)


async def post(
    url: str, body: object, headers: Mapping[str, str] = HEADERS, path: str = "/v1/traces", **options: Any
) -> tuple[int, dict[str, str], bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}{path}", data=body, headers=headers, **options) as answer,
    ):
        return answer.status, dict(answer.headers), await answer.read()


async def figures_of(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/status") as answer:
        found: dict[str, Any] = await answer.json()
        return found


def body_of(*numbers: int, **options: Any) -> bytes:
    now_us = time.time_ns() // 1_000
    return export(*(server_span(number, end_us=now_us) for number in numbers), **options).SerializeToString()
