"""Clients that offer HTTP/2 with ordinary requests, all real: Debian's curl, Java's HttpClient; to real servers.

The offer is between client and proxy: the body arrives, the answer is HTTP/1.1, and the request is counted.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
from tests.agents.middleware.frameworks.served import BIN
from tests.agents.proxy.running import run_proxy
from tests.support.parts import ROOT
from tests.support.waiting import eventually, until_open

from endpoint_analytics.infra.local.system.port import free_port

JAVA = """
import java.net.URI;
import java.net.http.*;
public class Ask {
    public static void main(String[] words) throws Exception {
        var client = HttpClient.newHttpClient();  // its default is HTTP/2, offered by an upgrade
        for (int number = 0; number < 3; number++) {
            var request = HttpRequest.newBuilder(URI.create(words[0]))
                .POST(HttpRequest.BodyPublishers.ofString("said " + number)).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
        }
    }
}
"""
SERVERS = {
    "uvicorn-httptools": ["uvicorn", "tests.agents.behaviour_app:app", "--http", "httptools", "--port"],
    "uvicorn-h11": ["uvicorn", "tests.agents.behaviour_app:app", "--http", "h11", "--port"],
    "hypercorn": ["hypercorn", "tests.agents.behaviour_app:app", "--bind"],
}


@contextmanager
def proxied(make_config, name, directory):
    port = free_port("127.0.0.1")
    address = f"127.0.0.1:{port}" if name == "hypercorn" else str(port)
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(BIN / SERVERS[name][0]), *SERVERS[name][1:], address],
            cwd=ROOT, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        until_open(port, process, log)
        with run_proxy(make_config(), port) as running:
            yield running
    finally:
        process.terminate()
        process.wait(30)


def counted(running, number):
    def look():
        totals = running.agent.snapshot().totals
        return totals.finished, totals.status, totals.duration_us > 0

    eventually(look, lambda found: found == (number, {"200": number}, True), 30, "the counts")


each_server = pytest.mark.parametrize("server", list(SERVERS))


@each_server
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(make_config, tmp_path, server):
    with proxied(make_config, server, tmp_path) as running:
        words = ["curl", "-s", "--http2", "-d", "said", "-w", " %{http_code} %{http_version}"]
        done = subprocess.run(
            [*words, f"http://127.0.0.1:{running.port}/echo"], capture_output=True, timeout=60, check=True
        )
        assert done.stdout == b"said 200 1.1"
        counted(running, 1)


def java_compiles() -> bool:
    if shutil.which("java") is None:
        return False
    modules = subprocess.run(["java", "--list-modules"], capture_output=True, check=False, text=True).stdout
    return "jdk.compiler" in modules and "java.net.http" in modules


@pytest.mark.parametrize("server", ["uvicorn-httptools", "hypercorn"])
@pytest.mark.skipif(not java_compiles(), reason="a JDK with a compiler and java.net.http is not installed")
def test_java(make_config, tmp_path, server):
    (tmp_path / "Ask.java").write_text(JAVA)
    with proxied(make_config, server, tmp_path) as running:
        done = subprocess.run(
            ["java", str(tmp_path / "Ask.java"), f"http://127.0.0.1:{running.port}/echo"],
            capture_output=True, timeout=120, check=False, text=True,
        )  # fmt: skip
        assert done.stdout == "".join(f"200 HTTP_1_1 said {number}\n" for number in range(3)), done.stderr
        counted(running, 3)


def test_an_offer_of_several_protocols_loses_http2_alone(make_config, tmp_path):
    with proxied(make_config, "uvicorn-h11", tmp_path) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
            client.sendall(
                b"GET /headers HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
                b"Upgrade: h2c\r\nUpgrade: other/1, H2C\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            )
            answer = b""
            while piece := client.recv(65_536):
                answer += piece
        assert b"upgrade: other/1\n" in answer
        assert b"h2c" not in answer.lower()
        assert b"http2-settings" not in answer.lower()
        counted(running, 1)
