"""The suite for every capture method, with the WSGI middleware in a threaded gunicorn."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
from dataclasses import dataclass
from types import SimpleNamespace

import msgspec
import pytest
from tests.agents.behaviours import PATIENCE_S, Behaviours, Captured
from tests.agents.middleware.frameworks.served import BIN
from tests.support.parts import ROOT
from tests.support.waiting import until_open

from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.requests import Totals


class Told(msgspec.Struct):
    totals: Totals
    active: int


@dataclass
class AgentElsewhere:
    """The agent in the server's process, as the suite uses it."""

    port: int

    def snapshot(self) -> SimpleNamespace:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request("GET", "/control/totals")
        reported = msgspec.json.decode(connection.getresponse().read(), type=Told)
        connection.close()
        return SimpleNamespace(totals=reported.totals, active=reported.active)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    port = free_port("127.0.0.1")
    log = tmp_path_factory.mktemp("gunicorn") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / "gunicorn"), "tests.agents.middleware.wsgi.behaviour_app:application", "--bind",
             f"127.0.0.1:{port}", "-k", "gthread", "--threads", "20", "--keep-alive", "60"],
            cwd=ROOT, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "SERVE_BEHAVIOURS": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    try:
        until_open(port, process, log)
        yield port
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class TestWsgi(Behaviours):
    test_the_application_is_killed = None  # the agent dies with it: tests of the whole have that
    test_refused_websockets = None  # WSGI has none

    @pytest.fixture
    def captured(self, server):
        """Totals since the start of the test: all tests share one server."""
        since = Since(server, AgentElsewhere(server))
        since.control("reset")
        return since


class Since(Captured):
    def __init__(self, port: int, agent: AgentElsewhere) -> None:
        super().__init__(port, port, [agent], lambda: None)
        self._before = super().accepted().totals

    def accepted(self):
        found = super().accepted()
        before = self._before
        names = ("arrived", "finished", "aborted_pending", "aborted_streaming")
        sums = {name: getattr(found.totals, name) - getattr(before, name) for name in names}
        status = {code: n - before.status.get(code, 0) for code, n in found.totals.status.items()}
        return type(found)(Totals(**sums, status={code: n for code, n in status.items() if n}))
