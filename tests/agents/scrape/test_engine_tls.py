"""A real server over TLS with its own CA: its metrics and its readiness are reached the same way."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Self

import pytest
import trustme
import uvicorn
from prometheus_client import CollectorRegistry, Gauge, make_asgi_app
from tests.support.waiting import eventually

from endpoint_analytics.agents.core.config import AgentConfig, ConfigurationError, read_config
from endpoint_analytics.agents.run.probe import ReadyProbe
from endpoint_analytics.agents.scrape.engine_tls import engine_tls
from endpoint_analytics.agents.scrape.fetch import ScrapeError, fetch
from endpoint_analytics.agents.scrape.settings import scrape_settings

NAMES = {"namespace": "acme", "endpoint": "llm", "replica_id": "replica-1"}


class Engine:
    """uvicorn with /metrics; `asks`: whether it requires a client certificate."""

    def __init__(self, directory: Path, server_name: str = "127.0.0.1", *, asks: bool = False) -> None:
        self.authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)
        issued = self.authority.issue_cert(server_name)
        certificate, key = directory / "server.pem", directory / "server.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        registry = CollectorRegistry()
        Gauge("vllm:num_requests_running", "help", registry=registry).set(3)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_asgi_app(registry),
                ssl_certfile=str(certificate),
                ssl_keyfile=str(key),
                ssl_ca_certs=str(self.ca_file) if asks else None,
                ssl_cert_reqs=ssl.CERT_REQUIRED if asks else ssl.CERT_NONE,
                log_level="critical",
                lifespan="off",
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._server.started, bool, 30, "the engine")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()

    def config(self, **settings) -> AgentConfig:
        return AgentConfig(**NAMES, scrape=f"https://127.0.0.1:{self.port}/metrics", **settings)


def ask_both(config: AgentConfig) -> list[str]:
    """Return the errors of the scrape and the ready URL; empty for success."""
    said = []
    try:
        assert "vllm:num_requests_running 3" in fetch(scrape_settings(config).target, 20)
        said.append("")
    except ScrapeError as error:
        said.append(str(error))
    said.append(ReadyProbe(config.scrape, engine_tls(config)).probe() or "")
    return said


def test_an_authority_of_its_own(tmp_path):
    with Engine(tmp_path) as engine:
        assert ask_both(engine.config(engine_ca_file=str(engine.ca_file))) == ["", ""]
        for said in ask_both(engine.config()):
            assert said.startswith("its certificate is not trusted (")
            assert "--engine-ca-file" in said
        assert ask_both(engine.config(engine_insecure=True)) == ["", ""]


def test_a_certificate_for_another_name(tmp_path):
    """As for an engine that a local agent scrapes at 127.0.0.1."""
    with Engine(tmp_path, "llm.example.com") as engine:
        ca_file = str(engine.ca_file)
        for said in ask_both(engine.config(engine_ca_file=ca_file)):
            assert "--engine-server-name" in said
        assert ask_both(engine.config(engine_ca_file=ca_file, engine_server_name="llm.example.com")) == [
            "",
            "",
        ]
        for said in ask_both(engine.config(engine_ca_file=ca_file, engine_server_name="other.example.com")):
            assert said.startswith("its certificate is not trusted (")


def test_a_server_that_asks_for_our_certificate(tmp_path):
    with Engine(tmp_path, asks=True) as engine:
        ca_file = str(engine.ca_file)
        for said in ask_both(engine.config(engine_ca_file=ca_file)):
            assert said
        ours = engine.authority.issue_cert("agent")
        certificate, key = tmp_path / "agent.pem", tmp_path / "agent.key"
        ours.cert_chain_pems[0].write_to_path(certificate)
        ours.private_key_pem.write_to_path(key)
        config = engine.config(
            engine_ca_file=ca_file, engine_certificate_file=str(certificate), engine_key_file=str(key)
        )
        assert ask_both(config) == ["", ""]


def test_a_server_without_tls():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1_000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        for said in ask_both(AgentConfig(**NAMES, scrape=f"https://127.0.0.1:{port}/metrics")):
            assert "http:// instead of https://" in said
        thread.join(30)


def test_files_that_cannot_be_used(tmp_path):
    for name in ("engine_ca_file", "engine_certificate_file"):
        with pytest.raises(
            ConfigurationError, match=rf"{name} is .*No such file.*--{name.replace('_', '-')}"
        ):
            engine_tls(AgentConfig(**NAMES, **{name: str(tmp_path / "none.pem")}))
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(ConfigurationError, match="engine_ca_file is"):
        engine_tls(AgentConfig(**NAMES, engine_ca_file=str(empty)))
    with pytest.raises(ConfigurationError, match="a key without"):
        engine_tls(AgentConfig(**NAMES, engine_key_file=str(empty)))


def test_the_variables():
    environment = {
        "ENDPOINT_ANALYTICS_NAMESPACE": "acme",
        "ENDPOINT_ANALYTICS_ENDPOINT": "llm",
        "ENDPOINT_ANALYTICS_ENGINE_CA_FILE": "/ca.pem",
        "ENDPOINT_ANALYTICS_ENGINE_SERVER_NAME": "llm",
        "ENDPOINT_ANALYTICS_ENGINE_INSECURE": "on",
        "ENDPOINT_ANALYTICS_SCRAPE_SELECT": 'model="a"',
    }
    config = read_config(environment=environment)
    assert (config.engine_ca_file, config.engine_server_name, config.engine_insecure) == (
        "/ca.pem",
        "llm",
        True,
    )
    assert config.scrape_select == 'model="a"'
