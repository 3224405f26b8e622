"""Real servers' logs: what clients saw of nginx and Caddy is what is read of them, by the shared suite."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agents.behaviours import PATIENCE_S, Captured, Seen, agree, ask
from tests.agents.folded import fold
from tests.agents.log.front import TimedBehaviours
from tests.agents.log.nginx import Nginx
from tests.agents.log.test_reader import Topic, now_us
from tests.agents.proxy.running import behaviour_server
from tests.support.oracle import Accepted
from tests.support.parts import ROOT
from tests.support.waiting import eventually

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.log.formats import FORMATS
from endpoint_analytics.agents.log.position_file import PositionFile
from endpoint_analytics.agents.log.reader import AccessLogReader
from endpoint_analytics.schemas.requests import Totals

pytestmark = pytest.mark.outside


class Reading(Captured):
    """A server whose log is read in a thread."""

    reader: AccessLogReader
    topic: Topic

    def accepted(self) -> Accepted:
        totals = self.reader.totals
        return Accepted(
            Totals(totals.arrived, totals.finished, totals.aborted_pending, totals.aborted_streaming,
                   totals.status, dropped=totals.dropped)
        )  # fmt: skip

    def wait_for_arrival(self) -> None:
        time.sleep(0.5)  # a log does not know of a request before its end


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def read_log(
    config: AgentConfig,
    path: Path,
    log_format: str,
    port: int,
    control_port: int,
    kill,
    detects_truncation: bool = False,
) -> Iterator[Reading]:
    captured = Reading(port, control_port, [], kill, detects_truncation)
    captured.topic = Topic()
    captured.reader = AccessLogReader(
        config,
        path,
        FORMATS[log_format],
        PositionFile(path.with_name("position"), config, now_us()),
        captured.topic,
    )
    loop = asyncio.new_event_loop()

    async def main() -> None:
        await captured.reader.run()
        await captured.reader.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        eventually(lambda: captured.topic.log, bool, PATIENCE_S, "the first batch")  # it follows from here on
        yield captured
    finally:
        loop.call_soon_threadsafe(captured.reader.stop)
        thread.join(30)
        assert not thread.is_alive()
        loop.close()
    stored = fold(captured.topic.log)
    assert stored.rejected == {}
    (boot,) = stored.boots.values()
    totals = captured.reader.totals
    assert (boot["arrived"], boot["finished"]) == (totals.arrived, totals.finished)
    assert boot["ttfb_sum_us"] <= boot["latency_sum_us"] + 10**9


@pytest.mark.skipif(not Nginx.is_installed(), reason="nginx is not installed")
class TestNginx(TimedBehaviours):
    @pytest.fixture
    def captured(self, make_config, tmp_path):
        child, port = behaviour_server(tmp_path)
        nginx = Nginx(tmp_path, port)
        try:
            nginx.wait()
            eventually(nginx.log.exists, bool, 30, "the log")
            with read_log(make_config(), nginx.log, "nginx", nginx.port, port, child.kill) as captured:
                yield captured
        finally:
            nginx.stop()
            child.kill()
            child.process.stdout.close()

    def test_a_rotation_under_load(self, captured, tmp_path):
        seen, log = Seen(), tmp_path / "access.log"
        for turn in range(30):
            ask(captured.port, seen, "/plain")
            if turn in {10, 20}:
                log.rename(tmp_path / f"access.log.{turn}")
                pid = int((tmp_path / "nginx.pid").read_text())
                subprocess.run(["kill", "-USR1", str(pid)], check=True)
        agree(captured, seen)


@pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed")
def test_caddy(make_config, tmp_path):
    child, upstream_port = behaviour_server(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path / "model.log"
    text = re.search(r"```caddyfile\n(.*?)```", (ROOT / "docs/instrument/caddy.md").read_text(), re.DOTALL)[1]
    text = text.replace("/var/log/caddy/model.log", str(log)).replace(
        "127.0.0.1:8000", f"127.0.0.1:{upstream_port}"
    )
    text = "{\n  admin off\n}\n" + text.replace(":8080 {", f"http://127.0.0.1:{port} {{")
    (tmp_path / "Caddyfile").write_text(text.replace("   :", ":"))
    caddy = subprocess.Popen(
        ["caddy", "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")],
        stderr=subprocess.DEVNULL,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    try:
        with read_log(make_config(), log, "caddy", port, upstream_port, child.kill) as captured:
            eventually(lambda: is_open(port), bool, PATIENCE_S, "Caddy")
            seen = Seen()
            for path in ("/plain", "/status/404", "/stream", "/broken", "/plain"):
                ask(port, seen, path)
            agree(captured, seen)
            gone = socket.create_connection(("127.0.0.1", port))
            gone.sendall(b"GET /wait HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            captured.control("entered", 1)
            gone.close()
            ask(port, seen, "/plain")
            agree(
                captured, seen
            )  # Caddy 2.6 writes no line for a client that left, as docs/instrument/caddy.md says
    finally:
        caddy.kill()  # on SIGTERM it would wait for requests
        caddy.wait(30)
        child.kill()
        child.process.stdout.close()


def test_uvicorn_counts_without_times(make_config, tmp_path):
    log = tmp_path / "uvicorn.log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with log.open("ab") as output:
        words = [sys.executable, "-m", "uvicorn", "tests.agents.behaviour_app:app", "--port", str(port)]
        server = subprocess.Popen(words, stdout=output, stderr=output, cwd=ROOT)
    try:
        eventually(lambda: b"running on" in log.read_bytes(), bool, PATIENCE_S, "uvicorn")
        with read_log(make_config(), log, "uvicorn", port, port, server.kill) as captured:
            seen = Seen()
            for path in ("/plain", "/status/404", "/plain", "/stream"):
                ask(port, seen, path)
            eventually(
                lambda: captured.reader.totals.status, lambda s: s == seen.status, PATIENCE_S, "the counts"
            )
            assert captured.reader.totals == Totals(status=dict(seen.status))
    finally:
        server.terminate()
        server.wait(30)
