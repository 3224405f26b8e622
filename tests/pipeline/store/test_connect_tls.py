"""ClickHouse over https: a private CA counts if SSL_CERT_FILE names it, and no certificate is accepted without one."""

from __future__ import annotations

import asyncio
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from endpoint_analytics.pipeline.store.connect import connect, connect_async
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig


class Teapot(http.server.BaseHTTPRequestHandler):
    """Shows that a request arrived."""

    def do_GET(self) -> None:
        self.send_response(418)
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def config(tmp_path: Path) -> Iterator[ClickHouseConfig]:
    """Return the address of a server whose certificate is of a CA of its own, in ca.pem."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Teapot) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield ClickHouseConfig(f"https://localhost:{server.server_address[1]}")
        server.shutdown()
        thread.join()


def failures(config: ClickHouseConfig) -> list[str]:
    """Return why the synchronous and the asyncio client cannot use it."""
    found = []
    for attempt in (lambda: connect(config), lambda: asyncio.run(connect_async(config))):
        with pytest.raises(StoreError) as raised:
            attempt()
        found.append(str(raised.value))
    return found


def test_an_unknown_ca_is_refused(config, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert ["CERTIFICATE_VERIFY_FAILED" in text for text in failures(config)] == [True, True]


def test_a_private_ca_is_trusted_if_it_is_named(config, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert ["status 418" in text for text in failures(config)] == [True, True]
