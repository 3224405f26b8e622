"""One real ClickHouse for these tests, and a fresh database for each module."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from tests.pipeline.store.rows import all_known

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig


@pytest.fixture(scope="package")
def server(tmp_path_factory) -> Iterator[ClickHouseProcess]:
    with ClickHouseProcess(tmp_path_factory.mktemp("store") / "clickhouse") as process:
        yield process


@pytest.fixture(scope="package")
def empty_config(server) -> ClickHouseConfig:
    """A server without our database."""
    return server.config(f"empty_{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def config(server) -> ClickHouseConfig:
    config = server.config(f"t_{uuid.uuid4().hex[:8]}")
    migrate(config)
    client = connect(config)
    all_known(client)
    client.close()
    return config


@pytest.fixture
def client(config) -> Iterator[Client]:
    client = connect(config)
    yield client
    client.close()
