"""What wraps the handlers: a bug is a 500 in the form of its path's other errors, and is counted and raised."""

import asyncio
import json
import time

import pytest

from endpoint_analytics.pipeline.serve.api.handlers import Api
from endpoint_analytics.pipeline.serve.application import Service
from endpoint_analytics.pipeline.serve.routes import application
from endpoint_analytics.pipeline.serve.scrape.self_metrics import SelfMetrics

EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/acme/cpu_percent"


def ask(app, path):
    """Send GET to the application, which has a bug; return status, headers and body."""
    sent = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer eat_x")],
        "client": ("127.0.0.1", 1),
    }

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    with pytest.raises(AttributeError):
        asyncio.run(app(scope, receive, send))
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


@pytest.mark.parametrize(
    ("path", "form", "route"),
    [
        ("/v2/namespaces", "application/problem+json", "api"),
        (EXTERNAL, "application/json", "api"),
        ("/session", "application/problem+json", "session"),
        ("/v2/endpoint/acme/llm/open-metrics", "text/plain; charset=utf-8", "open_metrics"),
        ("/ready", "text/plain; charset=utf-8", "ready"),
    ],
)
def test_a_bug_has_the_form_of_the_path(path, form, route):
    """The dependencies are missing, so every handler fails."""
    metrics = SelfMetrics()
    service = Service(scrapes=None, tokens=None, health=None, metrics=metrics, clock=time.monotonic)
    api = Api(*[None] * 6, version="1")
    app = application(service, api, while_serving=(), on_stop=None)
    status, headers, body = ask(app, path)
    assert (status, headers[b"content-type"].decode()) == (500, form)
    assert b"its log has the traceback" in body
    if form == "application/json":
        assert json.loads(body)["reason"] == "InternalError"
    assert metrics.requests == {(route, 500): 1}
