"""Excluded paths with a real server that has a path prefix: excluded as by a proxy in front of it."""

from __future__ import annotations

import http.client

import pytest
import uvicorn
from tests.agents.behaviour_app import BehaviourApp
from tests.agents.middleware.test_harmless import uvicorn_of
from tests.agents.proxy.running import run_proxy

from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware


@pytest.mark.parametrize("parser", ["httptools", "h11"])
def test_root_path(make_config, monkeypatch, parser):
    made = []

    def wrap(app):
        made.append(AnalyticsMiddleware(app, config=make_config(exclude_paths=("/health", "/he%alth"))))
        return made[-1]

    config = uvicorn.Config
    monkeypatch.setattr(uvicorn, "Config", lambda *a, **k: config(*a, root_path="/api", http=parser, **k))
    with uvicorn_of(BehaviourApp(wrap)) as port:
        settings = make_config(exclude_paths=("/health", "/he%alth"), replica_id="proxy")
        with run_proxy(settings, port) as running:
            for path in ("/health", "/health?x=1", "/he%61lth", "/he%25alth", "/health/", "/plain"):
                connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
                connection.request("GET", path)
                connection.getresponse().read()
                connection.close()
        agent = made[-1].agent
    agent.stop()
    assert agent.snapshot().totals.arrived == running.agent.snapshot().totals.arrived == 2
