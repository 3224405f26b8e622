"""One real server for these tests, and plain HTTP to it."""

from __future__ import annotations

import http.client
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

import clickhouse_connect
import pytest

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def login(server: ClickHouseProcess, *, analyst: bool = False) -> dict[str, str]:
    """The login headers of the writer, or of the analyst."""
    config = server.analyst_config() if analyst else server.config()
    return {"X-ClickHouse-User": config.user, "X-ClickHouse-Key": config.password}


def request_head(server: ClickHouseProcess, line: str, **headers: object) -> bytes:
    """The head of a request, as bytes for a socket."""
    named = {"Host": f"{server.host}:{server.port}", **login(server)}
    named |= {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return "".join([f"{line} HTTP/1.1\r\n", *(f"{k}: {v}\r\n" for k, v in named.items()), "\r\n"]).encode()


class Http:
    """Sends requests as curl would, each on a new connection."""

    def __init__(self, server: ClickHouseProcess, *, analyst: bool = False) -> None:
        self._host, self._port = server.host, server.port
        self._login = login(server, analyst=analyst)

    def __call__(self, body=None, *, method=None, path="/", headers=None, **parameters) -> Answer:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=30)
        try:
            method = method or ("GET" if body is None else "POST")
            query = f"?{urlencode(parameters)}" if parameters else ""
            named = {"user", "password"} & set(parameters) or "Authorization" in (headers or {})
            connection.request(method, path + query, body, ({} if named else self._login) | (headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()


def connect(server: ClickHouseProcess, **options: object):
    """A clickhouse-connect client, logged in as the writer."""
    config = server.config()
    return clickhouse_connect.get_client(
        host=server.host, port=server.port, username=config.user, password=config.password, **options
    )


@pytest.fixture(scope="package")
def server(tmp_path_factory) -> Iterator[ClickHouseProcess]:
    with ClickHouseProcess(tmp_path_factory.mktemp("clickhouse") / "data") as process:
        yield process


@pytest.fixture
def http_query(server) -> Http:
    return Http(server)


@pytest.fixture
def analyst_query(server) -> Http:
    return Http(server, analyst=True)


@pytest.fixture
def client(server):
    with connect(server) as client:
        yield client


@pytest.fixture
def table(http_query) -> Iterator[str]:
    """A separate table for the test: `a` UInt64, `b` String."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    made = http_query(f"CREATE TABLE {name} (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    assert made.status == 200, made.text
    yield name
    http_query(f"DROP TABLE IF EXISTS {name} SYNC")
