"""A real HAProxy's log: what clients saw is what is read, with the shared suite and HAProxy's own endings."""

from __future__ import annotations

import os
import shutil
import socket

import pytest
from tests.agents.behaviours import PATIENCE_S, Seen, agree, ask, begin, reset
from tests.agents.log.front import TimedBehaviours
from tests.agents.log.haproxy import HAProxy
from tests.agents.log.test_servers import read_log
from tests.agents.proxy.running import behaviour_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(not HAProxy.is_installed(), reason="HAProxy is not installed")


@pytest.fixture
def captured(make_config, tmp_path):
    child, port = behaviour_server(tmp_path)
    haproxy = HAProxy(tmp_path, port)
    try:
        haproxy.wait()
        ways = (haproxy.log, "haproxy", haproxy.port, port, child.kill)
        with read_log(make_config(), *ways, detects_truncation=True) as captured:
            captured.haproxy = haproxy
            yield captured
    finally:
        haproxy.stop()
        child.kill()
        child.process.stdout.close()


class TestHAProxy(TimedBehaviours):
    def test_clients_hang_up_early(self, captured):
        """HAProxy notices when it writes to them, so the server's status has already arrived."""
        seen = Seen()
        connections = [begin(captured.port, "/wait") for _ in range(6)]
        captured.control("entered", 6)
        for connection in connections:
            reset(connection)
            seen.part(200)
        captured.control("release")
        agree(captured, seen)

    def test_clients_hang_up_late(self, captured):
        """HAProxy assumes that a client that only closes its side, like a command in a pipe, still reads."""
        seen = Seen()
        connections = [begin(captured.port, "/wait_stream") for _ in range(6)]
        captured.control("entered", 6)
        for connection in connections:
            while b"begun" not in connection.recv(65_536):
                pass
            reset(connection)
            seen.part(200)
        captured.control("release")
        agree(captured, seen)

    def test_the_servers_timeout(self, captured):
        seen = Seen()
        ask(captured.port, seen, "/wait")
        ask(captured.port, seen, "/wait_stream")
        agree(captured, seen)
        assert (seen.status, seen.cut_short) == ({"504": 1, "200": 1}, 1)

    def test_a_server_that_is_not_there(self, captured):
        captured.kill()
        seen = Seen()
        ask(captured.port, seen, "/plain")
        agree(captured, seen)
        assert seen.status == {"503": 1}

    def test_what_is_no_http(self, captured):
        """HAProxy itself answers 400; a connection without data is not a request."""
        seen = Seen()
        socket.create_connection(("127.0.0.1", captured.port)).close()
        with socket.create_connection(("127.0.0.1", captured.port), timeout=PATIENCE_S) as connection:
            connection.sendall(b"\x16\x03\x01 no request\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 400")
        seen.whole(400)
        agree(captured, seen)

    def test_a_rotation(self, captured):
        """Its standard output cannot be reopened, so it is copied and truncated, like a container's log."""
        seen, log = Seen(), captured.haproxy.log
        for turn in range(30):
            ask(captured.port, seen, "/plain")
            if turn in {10, 20}:
                eventually(log.read_bytes, lambda text: text.count(b"\n") > 5, 30, "lines")
                shutil.copy2(log, log.with_name(f"{log.name}.{turn}"))
                os.truncate(log, 0)
        agree(captured, seen)
