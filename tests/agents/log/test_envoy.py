"""A real Envoy's log: what clients saw is what is read, with the shared suite and Envoy's own ways to end requests."""

from __future__ import annotations

import socket
import time

import pytest
from tests.agents.behaviours import PATIENCE_S, Seen, agree, ask
from tests.agents.log.front import TimedBehaviours
from tests.agents.log.test_servers import read_log
from tests.agents.proxy.running import behaviour_server
from tests.support.waiting import eventually

pytest.importorskip("envoy", reason="there is no Envoy for this machine")

from tests.agents.log.envoy import Envoy  # it needs the one above


@pytest.fixture
def captured(make_config, tmp_path):
    child, port = behaviour_server(tmp_path)
    envoy = Envoy(tmp_path, port)
    try:
        envoy.wait()
        eventually(envoy.log.exists, bool, 30, "the log")
        ways = (envoy.log, "envoy", envoy.port, port, child.kill)
        with read_log(make_config(), *ways, detects_truncation=True) as captured:
            captured.envoy = envoy
            yield captured
    finally:
        envoy.stop()
        child.kill()
        child.process.stdout.close()


class TestEnvoy(TimedBehaviours):
    def test_the_timeout_of_a_route(self, captured):
        seen = Seen()
        ask(captured.port, seen, "/timeout/wait")
        ask(captured.port, seen, "/timeout/wait_stream")
        agree(captured, seen)
        assert (seen.status, seen.cut_short) == ({"504": 1, "200": 1}, 1)

    def test_a_server_that_is_not_there(self, captured):
        captured.kill()
        seen = Seen()
        for _ in range(3):
            ask(captured.port, seen, "/plain")
        agree(captured, seen)
        assert seen.status == {"503": 3}

    @pytest.mark.parametrize("path", ["/wait", "/wait_stream"])
    def test_a_malformed_upload(self, captured, path):
        """Envoy itself answers 400, or cuts off a response that has started."""
        seen = Seen()
        connection = socket.create_connection(("127.0.0.1", captured.port), timeout=PATIENCE_S)
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".encode()
        )
        captured.control("entered", 1)
        while path == "/wait_stream" and b"begun" not in connection.recv(65_536):
            pass
        connection.sendall(b"no size\r\n")
        if path == "/wait":
            assert connection.recv(65_536).startswith(b"HTTP/1.1 400")
            seen.whole(400)
        else:
            assert connection.recv(65_536) == b""
            seen.cut(200)
        connection.close()
        agree(captured, seen)

    def test_a_tunnel_is_no_request(self, captured):
        seen = Seen()
        connection = socket.create_connection(("127.0.0.1", captured.port), timeout=PATIENCE_S)
        head = "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: YQ==\r\n"
        with socket.create_server(("127.0.0.1", captured.envoy.tunnel_port)) as listener:
            connection.sendall(f"GET /tunnel HTTP/1.1\r\n{head}\r\n".encode())
            server, _ = listener.accept()
            assert server.recv(65_536)
            server.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
            assert connection.recv(65_536).startswith(b"HTTP/1.1 101")
            time.sleep(0.2)
            connection.close()
            server.close()
        seen.status["101"] += 1
        agree(captured, seen)

    def test_a_rotation(self, captured):
        seen, log = Seen(), captured.envoy.log
        for turn in range(30):
            ask(captured.port, seen, "/plain")
            if turn in {10, 20}:
                log.rename(log.with_name(f"{log.name}.{turn}"))
                captured.envoy.reopen()
        agree(captured, seen)
