"""One real ClickHouse for these tests, a fresh database for each module, and the real service as a process."""

from __future__ import annotations

import http.client
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.pipeline.store.rows import all_known

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.tokens import create_token
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

MAIN = "import sys; from endpoint_analytics.infra.command import main; sys.exit(main())"


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def text(self) -> str:
        return self.body.decode()


class ServeProcess:
    """`endpoint-analytics serve` on a free port."""

    def __init__(self, config: ClickHouseConfig, log, *flags: str) -> None:
        words = [
            "serve",
            "--port",
            "0",
            "--clickhouse-url",
            config.url,
            "--clickhouse-database",
            config.database,
            *flags,
        ]
        self.log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-c", MAIN, *words],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=os.environ | {"ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD": config.password},
            )
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = os.read(self._process.stdout.fileno(), 4096).decode() if selector.select(30) else ""
        if not line.startswith("serve ready http://127.0.0.1:"):
            self._process.kill()
            raise AssertionError(f"said {line!r}; log: {log.read_text()}")
        self.line = line
        self.port = int(line.strip().rsplit(":", 1)[1])

    def get(self, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers=headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def post(self, path: str, body: object) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def scrape(self, token: str, endpoint: str = "llm", namespace: str = "acme", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.get(
            f"/v2/endpoint/{namespace}/{endpoint}/open-metrics", {"Authorization": f"Bearer {token}", **named}
        )

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM; returns the exit status and the seconds until the exit."""
        started_s = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self.rest = self._process.stdout.read()
        self._process.stdout.close()
        return status, time.monotonic() - started_s


@pytest.fixture(scope="package")
def server(tmp_path_factory) -> Iterator[ClickHouseProcess]:
    with ClickHouseProcess(tmp_path_factory.mktemp("serve") / "clickhouse") as process:
        yield process


@pytest.fixture(scope="module")
def config(server) -> ClickHouseConfig:
    config = server.config(f"t_{uuid.uuid4().hex[:8]}")
    migrate(config)
    client = connect(config)
    all_known(client)
    client.close()
    return config


@pytest.fixture(scope="module")
def client(config) -> Iterator[Client]:
    client = connect(config)
    yield client
    client.close()


@pytest.fixture(scope="module")
def service(config, tmp_path_factory) -> Iterator[ServeProcess]:
    process = ServeProcess(config, tmp_path_factory.mktemp("service") / "log")
    yield process
    process.stop()


@pytest.fixture(scope="module")
def token(client) -> str:
    return create_token(client, "acme", "test", datetime.now(UTC))


@pytest.fixture(scope="module")
def operator_token(client) -> str:
    return create_token(client, "*", "operator", datetime.now(UTC))


@pytest.fixture(scope="module")
def start_service(tmp_path_factory):
    """Start a separate service; it is stopped with the last test of the module at the latest."""
    started = []

    def start(config: ClickHouseConfig, *flags: str) -> ServeProcess:
        process = ServeProcess(config, tmp_path_factory.mktemp("service") / "log", *flags)
        started.append(process)
        return process

    yield start
    for process in started:
        if process._process.poll() is None:
            process.stop()
