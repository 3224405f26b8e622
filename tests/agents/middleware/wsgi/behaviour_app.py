"""The application of the shared suite for WSGI: each path one behaviour; run by a real server of threads.

`application` is what gunicorn serves: /control is the test's own and never passes the middleware; its
/control/totals tells what the agent of this process has accepted.
"""

from __future__ import annotations

import os
import threading
import time

import msgspec

from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
from endpoint_analytics.agents.middleware.wsgi import WSGIAnalyticsMiddleware

PATIENCE_S = 60
TEXT = ("Content-Type", "text/plain")


class BehaviourApp:
    def __init__(self) -> None:
        self.entered = 0
        self.changed = threading.Condition()
        self.release = threading.Event()

    def __call__(self, environ, start_response):
        match environ["PATH_INFO"].split("/")[1:]:
            case ["plain"]:
                return respond(start_response, "200 OK", b"hello")
            case ["status", code]:
                return respond(start_response, f"{code} Status", b"")
            case ["count"]:
                size = 0
                while piece := environ["wsgi.input"].read(65_536):
                    size += len(piece)
                if size < int(environ.get("CONTENT_LENGTH") or 0):
                    raise ConnectionError("the client went in its upload")
                return respond(start_response, "200 OK", str(size).encode())
            case ["echo"]:
                body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                return respond(start_response, "200 OK", body)
            case ["stream"]:
                return stream(start_response, 5, b"piece")
            case ["large", size]:
                return stream(start_response, int(size) // 65_536, bytes(65_536))
            case ["broken"]:
                raise RuntimeError("before the start")
            case ["broken_stream"]:
                return self.broken_stream(start_response)
            case ["wait"]:
                self.wait()
                return respond(start_response, "200 OK", b"late")
            case ["wait_stream"]:
                return self.wait_stream(start_response)
        return respond(start_response, "404 Not Found", b"")

    def broken_stream(self, start_response):
        start_response("200 OK", [TEXT])
        yield b"begun"
        raise RuntimeError("after the start")

    def wait_stream(self, start_response):
        start_response("200 OK", [TEXT])
        yield b"begun"
        self.wait()
        for _ in range(200):  # a client that closed answers the first of these with a reset, in its time
            yield b"late"
            time.sleep(0.01)

    def wait(self) -> None:
        release = self.release
        with self.changed:
            self.entered += 1
            self.changed.notify_all()
        release.wait(PATIENCE_S)

    def control(self, environ, start_response, agent):
        match environ["PATH_INFO"].split("/")[2:]:
            case ["entered", number]:
                with self.changed:
                    assert self.changed.wait_for(lambda: self.entered >= int(number), PATIENCE_S)
            case ["release"]:
                self.release.set()
            case ["reset"]:
                self.entered = 0
                self.release = threading.Event()
            case ["totals"]:
                snapshot = agent.snapshot()
                reported = {"totals": snapshot.totals, "active": snapshot.active}
                return respond(start_response, "200 OK", msgspec.json.encode(reported))
        return respond(start_response, "200 OK", b"")


def respond(start_response, status: str, body: bytes):
    start_response(status, [TEXT, ("Content-Length", str(len(body)))])
    return [body]


def stream(start_response, parts: int, part: bytes):
    start_response("200 OK", [TEXT])
    for _ in range(parts):
        yield part


def make_application():
    behaviour = BehaviourApp()
    middleware = WSGIAnalyticsMiddleware(
        behaviour,
        config=AgentConfig(
            namespace="acme",
            endpoint="classifier",
            replica_id="replica-1",
            kafka=KafkaConfig(bootstrap_servers="127.0.0.1:1"),
            flush_interval_s=0.05,
            stop_timeout_s=0.0,
            hardware=False,
        ),
    )

    def serve(environ, start_response):
        if environ["PATH_INFO"].startswith("/control/"):
            middleware.start()
            return behaviour.control(environ, start_response, middleware.process.agent)
        try:
            return middleware(environ, start_response)
        except RuntimeError:  # as the server would, in plain text
            return respond(start_response, "500 Internal Server Error", b"Internal Server Error")

    return serve


if os.environ.get("SERVE_BEHAVIOURS"):
    application = make_application()
