"""A real ClickHouse with a database for these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.pipeline.store.rows import all_known

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ClickHouseProcess]:
    with ClickHouseProcess(tmp_path_factory.mktemp("push") / "clickhouse") as process:
        migrate(process.config())
        yield process


@pytest.fixture(scope="module")
def client(server) -> Iterator[Client]:
    client = connect(server.config())
    all_known(client)
    yield client
    client.close()
