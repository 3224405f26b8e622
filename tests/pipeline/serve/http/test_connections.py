"""Clients that hold connections without doing their part, over real sockets, alongside an honest one."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import selectors
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
import trustme
import uvicorn
from tests.support.parts import ROOT
from tests.support.sockets import is_open, many
from tests.support.waiting import eventually

from endpoint_analytics.pipeline.serve.http.connections import (
    HEAD_WITHIN_S,
    MAX_CONNECTIONS,
    PATIENCE_S,
    Connections,
)
from endpoint_analytics.pipeline.serve.http.tls import make_server_context, renew

PAGE = ROOT / "pipeline/serve/page/dist"
HALF = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Half: "

HALF_BODY = (
    b"POST /session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
)


def ask(port: int, path: str = "/health", tls: ssl.SSLContext | None = None) -> int:
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=tls)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    )
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_600_half_heads_take_the_service_from_nobody(start_service, config):
    service = start_service(config)
    kept = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    kept.request("GET", "/health")  # a scraper's, kept alive
    assert kept.getresponse().read() == b"ok\n"
    with many(service.port, 600, HALF) as halves:
        assert [ask(service.port) for _ in range(20)] == [200] * 20
        kept.request("GET", "/health")
        assert kept.getresponse().read() == b"ok\n"
        assert 0 < sum(map(is_open, halves)) <= MAX_CONNECTIONS
        for half in halves:  # those that trickle gain nothing by it
            if is_open(half):
                half.setblocking(True)
                half.send(b"x")
        eventually(
            lambda: sum(map(is_open, halves)), lambda left: left == 0, HEAD_WITHIN_S * 3, "heads are over"
        )
        assert ask(service.port) == 200
    own = service.get("/metrics").text
    counted = re.search(
        r'^query_service_closed_connections_total\{waited_for="head"\} (\d+)$', own, re.MULTILINE
    )
    assert int(counted[1]) == 600


def test_a_head_and_a_body_that_do_not_come_end_and_a_busy_connection_goes_on(service):
    """Concurrently, as each takes HEAD_WITHIN_S: half a head, a body trickling after its response, requests."""
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=HEAD_WITHIN_S * 3) as half,
        socket.create_connection(("127.0.0.1", service.port), timeout=30) as slow,
        socket.create_connection(("127.0.0.1", service.port), timeout=30) as busy,
    ):
        half.sendall(HALF)
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert slow.recv(1000).startswith(b"HTTP/1.1 200 ")
        answers = 0

        def trickle() -> bool:
            """Each request of `busy` is sent with the start of the next one: there is always half a head in between."""
            nonlocal answers
            busy.sendall((b"" if answers else HALF[:10]) + HALF[10:] + b"\r\n\r\n" + HALF[:10])
            answer = b""
            while not answer.endswith(b"ok\n"):
                answer += busy.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200 ")
            answers += 1
            if is_open(slow):
                slow.send(b"x")
            time.sleep(0.1)
            return is_open(slow)

        eventually(trickle, lambda still: not still, HEAD_WITHIN_S * 3, "it is closed")
        for _ in range(30):
            trickle()
        assert half.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert half.recv(1000) == b""


@pytest.mark.parametrize("begin", [HALF, HALF_BODY], ids=["heads", "bodies"])
def test_the_service_lives_with_few_descriptors(config, tmp_path, begin):
    """300 descriptors are fewer than the connection limit: the limit is lowered, and honest clients are served."""
    words = [
        "/bin/sh", "-c", 'ulimit -n 300; exec "$0" -m endpoint_analytics.infra.command "$@"', sys.executable,
        "serve", "--port", "0",
    ]  # fmt: skip
    with running(words, config, tmp_path / "log") as line, many(int(line.rsplit(":", 1)[1]), 200, begin):
        port = int(line.rsplit(":", 1)[1])
        eventually(lambda: ask(port), lambda status: status == 200, 30, "it reaches ClickHouse")
        assert [ask(port) for _ in range(10)] == [200] * 10
        assert "Too many open files" not in (tmp_path / "log").read_text()


@contextmanager
def running(words: list[str], config, log):
    words = [*words, "--clickhouse-url", config.url, "--clickhouse-database", config.database]
    environment = os.environ | {"ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD": config.password}
    with log.open("wb") as stderr:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stderr, env=environment)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = os.read(process.stdout.fileno(), 4096).decode() if selector.select(60) else ""
        assert line.startswith("serve ready "), log.read_text()
        yield line.strip()
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture(scope="module")
def secured(config, tmp_path_factory):
    """A service with a certificate, and the context of a client that trusts it."""
    directory = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(directory / "serve.pem")
    client = ssl.create_default_context()
    ca.configure_trust(client)
    words = [
        sys.executable, "-m", "endpoint_analytics.infra.command", "serve", "--port", "0", "--host", "0.0.0.0",
        "--tls-certificate", str(directory / "serve.pem"),
    ]  # fmt: skip
    with running(words, config, directory / "log") as line:
        yield line, client, directory / "log"


def test_https_with_a_certificate(secured):
    line, client, log = secured
    assert line.startswith("serve ready https://0.0.0.0:")
    port = int(line.rsplit(":", 1)[1])
    assert [ask(port, tls=client) for _ in range(5)] == [200] * 5
    assert "without TLS" not in log.read_text()
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=client)
    for _ in range(3):  # one connection, kept
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b"ok\n"


@pytest.mark.slow
def test_600_handshakes_that_do_not_come_take_it_from_nobody(secured):
    line, client, _ = secured
    port = int(line.rsplit(":", 1)[1])
    with many(port, 600, b"\x16\x03\x01") as halves:
        assert [ask(port, tls=client) for _ in range(10)] == [200] * 10
        eventually(
            lambda: sum(map(is_open, halves)), lambda left: left == 0, HEAD_WITHIN_S * 3, "they are over"
        )
        assert ask(port, tls=client) == 200


def test_without_tls_for_others_it_says_what_that_means(config, start_service, tmp_path):
    words = [
        sys.executable, "-m", "endpoint_analytics.infra.command", "serve", "--port", "0", "--host", "0.0.0.0",
    ]  # fmt: skip
    with running(words, config, tmp_path / "log"):
        said = (tmp_path / "log").read_text()
    assert "without TLS: anyone on the network path can read and reuse tokens and sessions" in said
    assert "--tls-certificate" in said
    assert "without TLS" not in start_service(config).log.read_text()


@pytest.mark.parametrize(
    ("flags", "reported"),
    [
        (["--tls-key", "k.pem"], "--tls-key is given without --tls-certificate"),
        (
            ["--tls-certificate", "/nowhere.pem"],
            "--tls-certificate /nowhere.pem and --tls-key /nowhere.pem cannot",
        ),
    ],
)
def test_certificates_that_cannot_be_used(flags, reported):
    words = [sys.executable, "-m", "endpoint_analytics.infra.command", "serve", "--port", "0", *flags]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert reported in done.stderr


def test_a_renewed_certificate_is_read_and_a_broken_one_is_not(tmp_path):
    """A real handshake against the context itself, because the service checks only every minute."""
    path = tmp_path / "serve.pem"
    old, new = trustme.CA(), trustme.CA()
    old.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    context = make_server_context(path, None)

    async def handshake(ca: trustme.CA) -> bool:
        client = ssl.create_default_context()
        ca.configure_trust(client)
        server = await asyncio.start_server(
            lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context
        )
        async with server:
            try:
                port = server.sockets[0].getsockname()[1]
                _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            except ssl.SSLCertVerificationError:
                return False
            writer.close()
            return True

    async def until(ca: trustme.CA) -> None:
        async with asyncio.timeout(20):
            while not await handshake(ca):
                await asyncio.sleep(0.02)

    async def main() -> None:
        renewing = asyncio.create_task(renew(context, path, None, every_s=0.01))
        assert await handshake(old)
        new.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
        await until(new)
        path.write_text("nonsense")
        await asyncio.sleep(0.1)
        assert await handshake(new)
        old.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
        await until(old)
        renewing.cancel()

    asyncio.run(main())


@pytest.mark.slow
def test_a_client_that_does_not_read_its_answer_is_disconnected(service):
    """Pipelined requests for the page's largest file, whose responses are not read, until the buffers are full."""
    files = [entry for entry in os.scandir(PAGE) if entry.name.endswith(".js")]
    path = max(files, key=lambda entry: entry.stat().st_size).name
    request = f"GET /assets/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(None)
        ended = threading.Event()

        def send() -> None:
            try:
                while True:
                    deaf.sendall(request)
            except OSError:
                ended.set()

        threading.Thread(target=send, daemon=True).start()
        assert ended.wait(60)
    assert ask(service.port) == 200


async def large_answer(scope, receive, send):
    body = b"x" * LARGE
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


LARGE = 16_000_000


async def serve_while(connections: Connections, client) -> None:
    """Run a server with these connections, on a free port, while a client uses it."""
    config = uvicorn.Config(
        large_answer, http=connections.protocol, lifespan="off", ws="none", log_config=None
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        watching = asyncio.create_task(connections.watch())
        try:
            await asyncio.to_thread(client, listener.getsockname()[1])
            assert not watching.done()
        finally:
            server.should_exit = True
            watching.cancel()
            await serving


def test_a_closed_connections_answer_is_read_to_its_end_however_slowly():
    """The phases' time limits are short here, so that reading takes several times as long."""
    connections = Connections(9, time.monotonic, patience_s={**PATIENCE_S, "closing": 0.5, "answer": 5.0})

    def read_slowly(port: int) -> None:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            slow.settimeout(20)
            slow.connect(("127.0.0.1", port))
            slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            size = 0
            while piece := slow.recv(1 << 17):
                size += len(piece)
                time.sleep(len(piece) / 4_000_000)
            assert size > LARGE

    asyncio.run(serve_while(connections, read_slowly))


def test_a_sweep_that_fails_is_told_once_and_the_next_one_comes(caplog):
    connections = Connections(9, time.monotonic, patience_s={**PATIENCE_S, "head": 0.1})
    broken = connections._look
    failed = 0

    def look(*given):
        nonlocal failed
        if failed < 2:
            failed += 1
            raise RuntimeError("a fault of ours")
        broken(*given)

    connections._look = look

    def send_half(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as half:
            half.sendall(HALF)
            assert half.recv(1000).startswith(b"HTTP/1.1 408 ")

    asyncio.run(serve_while(connections, send_half))
    assert failed == 2
    assert caplog.text.count("cannot be checked") == 1


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (HALF + b"x\r\n" + b"a:\r\n" * 256 + b"\r\n", "more than 256 header fields"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "path is longer than 8192 bytes"),
        (b"GET / HTTP/1.1\r\nHost: x\r\na: " + b"a" * 20_000, "head is too large"),
    ],
    ids=["fields", "path", "bytes"],
)
def test_a_head_that_is_too_large_is_refused_in_words(service, head, words):
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head)
        answer = connection.recv(1000).decode()
    assert answer.startswith("HTTP/1.1 431 ")
    assert words in answer
