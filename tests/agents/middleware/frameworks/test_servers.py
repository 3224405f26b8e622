"""Real frameworks on real servers: every request of every worker is counted once, and the replica has one life."""

from __future__ import annotations

import importlib.util
import itertools
import sys

import pytest
from tests.agents.middleware.frameworks.applications import APPLICATIONS, ENDS_IN_ORDER
from tests.agents.middleware.frameworks.served import read_all, read_when, served

GUNICORN = ["gunicorn", "application:app", "--bind", "127.0.0.1:{port}", "--graceful-timeout", "3"]
HOOKS = ["-c", "python:endpoint_analytics.gunicorn"]
WORKER = ["-k", "uvicorn_worker.UvicornWorker"]

SERVERS = {
    "uvicorn": ["uvicorn", "application:app", "--port", "{port}", "--timeout-graceful-shutdown", "3"],
    "hypercorn": ["hypercorn", "application:app", "--bind", "127.0.0.1:{port}", "--graceful-timeout", "3"],
    "granian": ["granian", "application:app", "--interface", "asgi", "--port", "{port}"],
    "granian-wsgi": ["granian", "application:app", "--interface", "wsgi", "--port", "{port}"],
    "gunicorn-uvicorn": [*GUNICORN, *WORKER],
    "gunicorn-sync": [*GUNICORN, *HOOKS],
    "gunicorn-preload": [*GUNICORN, *HOOKS, "--preload"],
    "gunicorn-gthread": [*GUNICORN, *HOOKS, "-k", "gthread", "--threads", "4"],
    "waitress": ["waitress-serve", "--listen", "127.0.0.1:{port}", "application:app"],
    "uwsgi": [
        "pyuwsgi", "--http-socket", "127.0.0.1:{port}", "--module", "application:app", "--master",
        "--enable-threads", "--die-on-term", "--lazy-apps", "--need-app", "--home", sys.prefix,
    ],
}  # fmt: skip
WORKERS = {"uvicorn": "--workers", "hypercorn": "--workers", "uwsgi": "--processes"}

# framework, server, worker processes (0: the server has no such thing)
COMBINATIONS = [
    ("fastapi", "uvicorn", 2),
    ("fastapi", "gunicorn-uvicorn", 2),
    ("starlette", "granian", 2),
    ("litestar", "uvicorn", 1),
    ("quart", "hypercorn", 1),
    ("django-asgi", "uvicorn", 1),
    ("django-wsgi", "gunicorn-sync", 2),
    ("flask", "gunicorn-preload", 2),
    ("flask", "waitress", 0),
    ("flask", "granian-wsgi", 2),
    ("flask", "uwsgi", 2),
]
MORE = [
    ("starlette", "hypercorn", 2),
    ("fastapi", "uvicorn", 1),
    ("fastapi", "hypercorn", 2),
    ("fastapi", "granian", 2),
    ("starlette", "uvicorn", 2),
    ("litestar", "granian", 1),
    ("litestar", "hypercorn", 2),
    ("litestar", "gunicorn-uvicorn", 2),
    ("quart", "uvicorn", 1),
    ("quart", "granian", 2),
    ("django-asgi", "gunicorn-uvicorn", 2),
    ("django-asgi", "hypercorn", 2),
    ("django-asgi", "granian", 2),
    ("django-wsgi", "gunicorn-gthread", 2),
    ("django-wsgi", "waitress", 0),
    ("django-wsgi", "uwsgi", 2),
    ("flask", "gunicorn-sync", 1),
    ("flask", "gunicorn-gthread", 2),
]


def command(server: str, workers: int, *more: str):
    flags = [WORKERS.get(server, "--workers"), str(workers)] if workers else []
    return lambda port: [*(word.format(port=port) for word in SERVERS[server]), *flags, *more]


@pytest.mark.parametrize(
    ("framework", "server", "workers"),
    [*COMBINATIONS, *(pytest.param(*each, marks=pytest.mark.slow) for each in MORE)],
)
def test_every_request_is_counted_once(kafka_config, tmp_path, framework, server, workers):
    if server == "uwsgi" and importlib.util.find_spec("pyuwsgi") is None:
        pytest.skip("pyuwsgi is not installed")
    kills_workers = server == "hypercorn" and workers > 1  # the slower ones, while they shut down
    ends = ENDS_IN_ORDER if server == "waitress" else ""
    (tmp_path / "application.py").write_text(APPLICATIONS[framework] + ends)
    with served(command(server, workers), tmp_path, kafka_config) as running:
        assert running.ask("/hello", 100) == {200: 100}
        assert running.ask("/missing", 10) == {404: 10}
        running.hang_up_late("/stream")
        read_when(
            kafka_config,
            lambda found: found.total("aborted_streaming") == 1,
            f"the aborted stream of {framework} under {server}",
        )
        if kills_workers:
            read_when(
                kafka_config,
                lambda found: found.total("finished") == 110 and "running" in found.states,
                "every request, and that the replica runs",
            )
        running.stop()
    found = read_all(kafka_config)
    log = running.log.read_text()[-3000:]
    assert found.status == {"200": 101, "404": 10}, log
    assert found.total("finished") == 110
    assert found.total("aborted_pending") == 0
    assert found.total("arrived") == 111
    assert len(found.boots) <= max(workers, 1)
    for batches in found.boots.values():
        assert [batch.seq for batch in batches] == list(range(len(batches)))
    states = [state for state in found.states if state != "draining"]  # WSGI does not tell of a stop
    if kills_workers and states[-1] != "terminated":
        states.append("terminated")
    assert states == ["initializing", "running", "terminated"], (found.states, log)
    moments = sorted((batch.start_us, batch.end_us) for batch in found.hardware)
    assert all(before[1] <= after[0] + 1_000 for before, after in itertools.pairwise(moments))
