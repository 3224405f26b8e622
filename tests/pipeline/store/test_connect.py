import argparse
import asyncio
import socket

import pytest

from endpoint_analytics.pipeline.store.connect import connect, connect_async
from endpoint_analytics.pipeline.store.errors import SchemaMissingError, StoreUnreachableError
from endpoint_analytics.schemas.configuration.clickhouse_config import (
    ClickHouseConfig,
    ClickHouseConfigError,
    add_clickhouse_options,
    clickhouse_of,
    read_clickhouse_config,
)


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_clickhouse_options(parser)
    return parser.parse_args(words)


def test_defaults():
    config = read_clickhouse_config({})
    assert config == ClickHouseConfig("http://127.0.0.1:8123", "default", "", "endpoint_analytics", "")


def test_flags_go_before_the_environment():
    environment = {
        "ENDPOINT_ANALYTICS_CLICKHOUSE_URL": "https://a:1",
        "ENDPOINT_ANALYTICS_CLICKHOUSE_USER": "u",
        "ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD": "p",
        "ENDPOINT_ANALYTICS_CLICKHOUSE_DATABASE": "d",
        "ENDPOINT_ANALYTICS_CLICKHOUSE_CLUSTER": "c",
    }
    assert clickhouse_of(parsed(), environment) == ClickHouseConfig("https://a:1", "u", "p", "d", "c")
    given = clickhouse_of(parsed("--clickhouse-url", "http://b:2", "--clickhouse-cluster", ""), environment)
    assert given == ClickHouseConfig("http://b:2", "u", "p", "d", "")


def test_the_password_is_in_no_repr():
    assert "hunter2" not in repr(ClickHouseConfig(password="hunter2"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "127.0.0.1:8123"},
        {"url": "ftp://127.0.0.1"},
        {"url": "http://user:secret@127.0.0.1:8123"},
        {"url": "http://127.0.0.1:8123/?database=x"},
        {"database": "a`b"},
        {"database": ""},
        {"cluster": "a`b"},
    ],
)
def test_settings_that_cannot_be_used(wrong):
    with pytest.raises(ClickHouseConfigError) as caught:
        ClickHouseConfig(**wrong)
    assert "secret" not in str(caught.value)


def test_a_missing_server_is_told_with_what_mends_it():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(StoreUnreachableError, match="ENDPOINT_ANALYTICS_CLICKHOUSE_URL"):
            connect(ClickHouseConfig(url=url))
        with pytest.raises(StoreUnreachableError, match="ENDPOINT_ANALYTICS_CLICKHOUSE_URL"):
            asyncio.run(connect_async(ClickHouseConfig(url=url)))


def test_a_missing_database_is_told_with_what_mends_it(empty_config):
    with pytest.raises(SchemaMissingError, match="endpoint-analytics migrate"):
        connect(empty_config)
    with pytest.raises(SchemaMissingError, match="endpoint-analytics migrate"):
        asyncio.run(connect_async(empty_config))


def test_queries_of_one_client_run_side_by_side(config):
    async def main():
        client = await connect_async(config)
        results = await asyncio.gather(*(client.query("SELECT {n:UInt8}", {"n": n}) for n in range(8)))
        await client.close()
        return [result.result_rows[0][0] for result in results]

    assert asyncio.run(main()) == list(range(8))
