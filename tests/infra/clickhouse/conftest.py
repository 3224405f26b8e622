"""One real server for these tests, and plain HTTP to it."""

from __future__ import annotations

import http.client
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

import clickhouse_connect
import pytest

from endpoint_analytics.infra.clickhouse.process import ClickHouseProcess


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Http:
    """Requests as curl would send them, each on a connection of its own."""

    def __init__(self, server: ClickHouseProcess) -> None:
        self._host, self._port = server.host, server.port

    def __call__(self, body=None, *, method=None, path="/", headers=None, **parameters) -> Answer:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=30)
        try:
            method = method or ("GET" if body is None else "POST")
            query = f"?{urlencode(parameters)}" if parameters else ""
            connection.request(method, path + query, body, headers or {})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[ClickHouseProcess]:
    with ClickHouseProcess(tmp_path_factory.mktemp("clickhouse") / "data") as process:
        yield process


@pytest.fixture
def http_query(server) -> Http:
    return Http(server)


@pytest.fixture
def client(server):
    with clickhouse_connect.get_client(host=server.host, port=server.port) as client:
        yield client


@pytest.fixture
def table(http_query) -> Iterator[str]:
    """A table of its own for a test: `a` UInt64, `b` String."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    made = http_query(f"CREATE TABLE {name} (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    assert made.status == 200, made.text
    yield name
    http_query(f"DROP TABLE IF EXISTS {name} SYNC")
