"""Wrong settings under real servers: the start ends and says why; where it would not, they serve as without us."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agents.middleware.frameworks.applications import APPLICATIONS
from tests.agents.middleware.frameworks.served import BIN
from tests.agents.middleware.frameworks.test_servers import SERVERS
from tests.support.waiting import until_open

from endpoint_analytics.infra.local.system.port import free_port

WRONG = {
    "ENDPOINT_ANALYTICS_HARDWARE": "fasle",
    "ENDPOINT_ANALYTICS_NAMESPACE": "acme",
    "ENDPOINT_ANALYTICS_ENDPOINT": "classifier",
}
SAID = "hardware is 'fasle': expected on or off, for example off; set ENDPOINT_ANALYTICS_HARDWARE"
UWSGI = [word for word in SERVERS["uwsgi"] if word != "--need-app"]
LAZILY = """
from starlette.applications import Starlette
from starlette.routing import Mount
import application
app = Starlette(routes=[Mount("/", application.app)])
"""


@contextmanager
def started(
    words: list[str], directory: Path, framework: str, **variables: str
) -> Iterator[tuple[subprocess.Popen, int]]:
    """Start a server of a framework's application; it ends with the block at the latest."""
    (directory / "application.py").write_text(APPLICATIONS[framework])
    (directory / "mounted.py").write_text(LAZILY)
    port = free_port("127.0.0.1")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ENDPOINT_ANALYTICS_")},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(directory),
        **variables,
    }
    with (directory / "server.log").open("wb") as output:
        process = subprocess.Popen(
            [word.format(port=port) for word in words],
            cwd=directory, stdout=output, stderr=output, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        yield process, port
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answer(port: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/hello")
    found = connection.getresponse()
    return found.status, found.read()


@pytest.mark.parametrize(
    ("framework", "server"),
    [
        ("fastapi", "uvicorn"),
        ("fastapi", "gunicorn-uvicorn"),
        ("fastapi", "granian"),
        ("starlette", "hypercorn"),
        ("django-asgi", "uvicorn"),
        ("flask", "gunicorn-sync"),
        ("flask", "waitress"),
        ("django-wsgi", "granian-wsgi"),
        ("django-wsgi", "uwsgi"),
    ],
)
def test_the_start_ends_and_says_why(tmp_path, framework, server):
    with started(SERVERS[server], tmp_path, framework, **WRONG) as (process, _):
        status = process.wait(90)
        log = (tmp_path / "server.log").read_text()
    assert status != 0 or server == "hypercorn", log  # which ends with 0 when its worker has failed
    assert SAID in log


@pytest.mark.parametrize(
    ("framework", "words"),
    [
        ("fastapi", [*SERVERS["uvicorn"], "--lifespan", "off"]),
        ("fastapi", ["uvicorn", "mounted:app", "--port", "{port}"]),  # mounted applications get no lifespan
        ("starlette", ["granian", "application:app", "--interface", "asginl", "--port", "{port}"]),
        ("flask", UWSGI),
    ],
    ids=["uvicorn without lifespan", "mounted", "granian without lifespan", "uwsgi without need-app"],
)
def test_where_nothing_would_end_it_serves_without_analytics(tmp_path, framework, words):
    with started(words, tmp_path, framework, **WRONG) as (process, port):
        until_open(port, process, tmp_path / "server.log")
        found = [answer(port) for _ in range(3)]
        log = (tmp_path / "server.log").read_text()
    body = b'{"hello":"world"}' if framework == "fastapi" else b"hello"
    assert found == [(200, body)] * 3, log
    assert f"requests are NOT recorded: {SAID}" in log
    assert log.count("requests are NOT recorded") == 1


def test_no_thread_is_to_be_had(tmp_path):
    """The agent cannot start: the server works as without it."""
    without_threads = (
        "import resource, sys, threading, uvicorn\n"
        'def refuse(self): raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = refuse\n"
        "uvicorn.run('application:app', port=int(sys.argv[1]))\n"
    )
    (tmp_path / "threadless.py").write_text(without_threads)
    words = [sys.executable, "threadless.py", "{port}"]
    fine = {**WRONG, "ENDPOINT_ANALYTICS_HARDWARE": "off"}
    with started(words, tmp_path, "fastapi", **fine) as (process, port):
        until_open(port, process, tmp_path / "server.log")
        assert [answer(port) for _ in range(3)] == [(200, b'{"hello":"world"}')] * 3
        process.terminate()
        process.wait(30)
    log = (tmp_path / "server.log").read_text()
    assert log.count("its requests are NOT recorded") == 1
