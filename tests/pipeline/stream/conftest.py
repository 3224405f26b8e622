"""A real ClickHouse for the tests of the worker's shell."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig


@pytest.fixture(scope="package")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseProcess]:
    with ClickHouseProcess(tmp_path_factory.mktemp("stream") / "clickhouse") as process:
        yield process


@pytest.fixture
def config(clickhouse: ClickHouseProcess) -> ClickHouseConfig:
    config = clickhouse.config(f"stream_{uuid.uuid4().hex[:12]}")
    migrate(config)
    return config
