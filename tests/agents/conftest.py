"""Real servers for the agent's tests: Kafka for its shell, uvicorn for its middleware."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import uvicorn

from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.topics import HARDWARE, REPLICAS, REQUESTS, TOPIC_CONFIG

NOWHERE = KafkaConfig(bootstrap_servers="127.0.0.1:1")
"""A Kafka that is away: the port refuses."""


class Served:
    """An application behind the middleware on a real uvicorn; the totals are read when it has ended."""

    def __init__(self, middleware: AnalyticsMiddleware) -> None:
        self.middleware = middleware
        self.port = 0
        self.agent: Agent | None = None

    @property
    def totals(self) -> dict[str, object]:
        """All non-zero totals of the agent, except the sums of times."""
        totals = self.agent.snapshot().totals
        names = ("arrived", "finished", "aborted_pending", "aborted_streaming", "status", "dropped")
        return {name: value for name in names if (value := getattr(totals, name))}


@pytest.fixture(autouse=True)
def _processes_meet_apart(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agents of one test know nothing of those of another, which may have the same names."""
    monkeypatch.setenv("ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY", str(tmp_path_factory.mktemp("runtime")))


@pytest.fixture
def make_config() -> Callable[..., AgentConfig]:
    """Settings of an agent that sends nowhere, unless they say otherwise."""

    def make(**settings: object) -> AgentConfig:
        defaults = {
            "namespace": "acme",
            "endpoint": "classifier",
            "replica_id": "replica-1",
            "kafka": NOWHERE,
            "flush_interval_s": 0.05,
            "stop_timeout_s": 0.0,
            "hardware": False,
        }
        return AgentConfig(**{**defaults, **settings})

    return make


@pytest.fixture
def serve(make_config: Callable[..., AgentConfig]) -> Callable[..., AbstractContextManager[Served]]:
    """Serve an application with uvicorn in a thread, on a free port, until the block ends."""

    @contextmanager
    def serve(app: object, **options: object) -> Iterator[Served]:
        served = Served(AnalyticsMiddleware(app, config=make_config()))
        config = uvicorn.Config(
            options.pop("wrap", lambda middleware: middleware)(served.middleware),
            host="127.0.0.1",
            port=0,
            log_level="critical",
            **{"timeout_graceful_shutdown": 5, **options},
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            thread.join(0.005)
            assert thread.is_alive()
        served.port = server.servers[0].sockets[0].getsockname()[1]
        served.agent = served.middleware.agent
        try:
            yield served
        finally:
            served.agent = served.agent or served.middleware.agent
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
            served.agent.stop()
            assert served.agent.has_stopped

    return serve


@pytest.fixture(scope="package")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    """A broker that the tests of this directory share: none may leave it stopped."""
    with KafkaProcess(tmp_path_factory.mktemp("kafka")) as process:
        yield process


@pytest.fixture
def kafka_config(kafka: KafkaProcess) -> KafkaConfig:
    """Topics of the test's own on the shared broker, of one partition each."""
    config = KafkaConfig(bootstrap_servers=kafka.bootstrap_servers, topic_prefix=f"t-{uuid.uuid4().hex[:8]}")
    specs = [
        TopicSpec(topic.name(config.topic_prefix), 1, topic.retention_ms, config=TOPIC_CONFIG)
        for topic in (REQUESTS, HARDWARE, REPLICAS)
    ]
    asyncio.run(ensure_topics(config.bootstrap_servers, specs))
    return config
