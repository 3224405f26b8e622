"""The middleware as a whole: settings, agents, forks."""

from __future__ import annotations

import os
import types
from wsgiref.util import setup_testing_defaults

import pytest

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.middleware.wsgi import WSGIAnalyticsMiddleware
from endpoint_analytics.agents.middleware.wsgi_gunicorn import find, post_worker_init


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def ask(app) -> bytes:
    environ: dict[str, object] = {}
    setup_testing_defaults(environ)
    body = app(environ, lambda status, headers, exc_info=None: None)
    try:
        return b"".join(body)
    finally:
        body.close()


@pytest.fixture
def middleware(make_config):
    middleware = WSGIAnalyticsMiddleware(hello, config=make_config())
    yield middleware
    if middleware.process.agent is not None:
        middleware.process.agent.stop()


def test_a_missing_setting_is_reported_at_once(monkeypatch):
    monkeypatch.delenv("ENDPOINT_ANALYTICS_NAMESPACE", raising=False)
    with pytest.raises(ConfigurationError, match="namespace is not set"):
        WSGIAnalyticsMiddleware(hello, endpoint="x")


def test_the_first_request_starts_the_agent_and_the_replica_runs(middleware):
    assert middleware.process.agent is None
    assert ask(middleware) == b"hello"
    agent = middleware.process.agent
    assert agent.snapshot().state == "running"
    ask(middleware)
    assert middleware.process.agent is agent
    agent.stop()
    assert agent.snapshot().totals.finished == 2


def test_a_hook_starts_it_before_any_request(middleware):
    post_worker_init(types.SimpleNamespace(wsgi=middleware))
    assert middleware.process.agent.snapshot().state == "running"


def test_the_hook_finds_the_middleware_within_flask(middleware):
    assert find(types.SimpleNamespace(wsgi_app=middleware)) is middleware
    assert find(hello) is None
    post_worker_init(types.SimpleNamespace())


@pytest.mark.outside
def test_a_forked_child_has_an_agent_of_its_own(middleware):
    ask(middleware)
    parent = middleware.process.agent
    pid = os.fork()
    if pid == 0:
        ask(middleware)
        child = middleware.process.agent
        os._exit(0 if child is not None and child is not parent and child.boot_id != parent.boot_id else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert middleware.process.agent is parent


def test_an_application_that_raises_raises_on(make_config):
    def broken(environ, start_response):
        raise RuntimeError("broken")

    middleware = WSGIAnalyticsMiddleware(broken, config=make_config())
    with pytest.raises(RuntimeError, match="broken"):
        ask(middleware)
    middleware.process.agent.stop()
    assert middleware.process.agent.snapshot().totals.status == {"500": 1}


def test_excluded_paths_are_served_and_not_recorded(make_config):
    def app(environ, start_response):
        hello(environ, start_response)
        return iter([b"hello"])

    middleware = WSGIAnalyticsMiddleware(app, config=make_config(exclude_paths=("/health", "/bereit/ü")))
    as_wsgi_has_it = "/bereit/ü".encode().decode("latin-1")
    for path in ("/health", "/", "/health/x", as_wsgi_has_it):
        environ = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        assert b"".join(middleware(environ, lambda status, headers, exc_info=None: None)) == b"hello"
    agent = middleware.process.agent
    agent.stop()
    assert agent.snapshot().totals.arrived == 2
