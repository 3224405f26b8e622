"""The Kubernetes agent, end to end: a scripted rolling update reaches SQL, the JSON API and OpenMetrics unchanged.

The API server is the tests' own and replays the API's JSON; two agents watch it, and both are killed on the way.
"""

from __future__ import annotations

import http.client
import json
import operator
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.agents.kubernetes.api_server import ApiServer
from tests.agents.kubernetes.pods import ScriptedPod
from tests.agents.kubernetes.scalers import autoscaler, deployment
from tests.support.parts import Child, Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.whole

NAMESPACE, ENDPOINT = "kubernetes", "llm"
AGAIN_S = 6 * 3600
# What lasts is told again at these moments: the script's own stay apart from them.
NOW = datetime.now(UTC)
BEGIN = (NOW - timedelta(minutes=20)).replace(second=0, microsecond=0)
if BEGIN.timestamp() % AGAIN_S == 0:
    BEGIN -= timedelta(minutes=1)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as started:
        started.missing = {"scaledobjects"}
        yield started


def agent(stack: Stack, server: ApiServer, directory: Path, name: str) -> Child:
    options = (
        "--kubeconfig",
        str(server.kubeconfig(directory)),
        "--selector",
        "app=llm",
        "--endpoint",
        ENDPOINT,
    )
    return stack.child(
        name,
        "agent",
        "kubernetes",
        *options,
        "--namespace",
        NAMESPACE,
        ready="kubernetes agent ready: .* pods",
    )


def reported(stack: Stack) -> dict[str, list[tuple[int, str]]]:
    """Return each replica's states from SQL: (seconds after BEGIN, state)."""
    rows = stack.rows(
        "SELECT replica_id, toUnixTimestamp(at), toString(state) FROM replica_events FINAL"
        " WHERE namespace = {namespace:String} ORDER BY replica_id, at",
        namespace=NAMESPACE,
    )
    found: dict[str, list[tuple[int, str]]] = {}
    for replica, at_s, state in rows:
        if at_s % AGAIN_S:
            found.setdefault(replica, []).append((at_s - int(BEGIN.timestamp()), state))
    return found


def limits(stack: Stack) -> list[tuple[int, int, int]]:
    rows = stack.rows(
        "SELECT toUnixTimestamp(at), min_replicas, max_replicas FROM endpoint_settings FINAL"
        " WHERE namespace = {namespace:String} ORDER BY at",
        namespace=NAMESPACE,
    )
    return [(at_s - int(BEGIN.timestamp()), least, most) for at_s, least, most in rows]


def series(stack: Stack, to_s: int) -> dict[str, list[Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", stack.serve_port, timeout=20)
    since = int(BEGIN.timestamp())
    connection.request(
        "GET",
        f"/v2/endpoint/{NAMESPACE}/{ENDPOINT}/series?series=replicas&step=10&from={since}&to={since + to_s}",
        headers={"Authorization": f"Bearer {stack.token}"},
    )
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return {"at": answer["at"], **{each["name"]: each["values"] for each in answer["series"]}}


def test_a_rolling_update_is_told_as_it_was(stack: Stack, server: ApiServer, tmp_path: Path) -> None:
    old = [ScriptedPod(f"llm-old-{number}", BEGIN) for number in range(2)]
    new = [
        ScriptedPod("llm-new-0", BEGIN + timedelta(seconds=303)),
        ScriptedPod("llm-new-1", BEGIN + timedelta(seconds=352)),
    ]
    apply = server.apply
    apply("deployments", deployment("llm", 2, begin=BEGIN))
    apply("horizontalpodautoscalers", autoscaler("llm", 2, 6, begin=BEGIN))
    for pod in old:
        pod.scheduled(1)
        pod.taken_on(2)
        pod.runs(31)
        pod.ready(45)
        apply("pods", pod.json)
    agents = [agent(stack, server, tmp_path, f"watcher-{number}") for number in range(2)]
    for each in agents:
        each.start()
    start = [(0, "pending"), (2, "pulling"), (31, "initializing"), (45, "running")]
    expected = {pod.name: list(start) for pod in old}
    eventually(lambda: reported(stack), lambda found: found == expected, 30, "the old pods")

    # The update: one more pod, then one less, version by version.
    first = new[0]
    for happens in (
        lambda: None,
        lambda: first.scheduled(1),
        lambda: first.taken_on(2),
        lambda: first.runs(20),
    ):
        happens()
        apply("pods", first.json)
    server.drop_connections()
    first.ready(38)
    apply("pods", first.json)
    old[0].deletion_asked(342)
    apply("pods", old[0].json)
    old[0].all_ended(351)
    apply("pods", old[0].json)
    server.delete("pods", old[0].name)
    apply("horizontalpodautoscalers", autoscaler("llm", 2, 8, written=364, begin=BEGIN))
    old[1].deletion_asked(423)
    apply("pods", old[1].json)
    expected[old[0].name] += [(342, "draining"), (351, "terminated")]
    expected[old[1].name] += [(423, "draining")]
    expected[first.name] = [(303, "pending"), (305, "pulling"), (323, "initializing"), (341, "running")]
    eventually(lambda: reported(stack), lambda found: found == expected, 30, "the first half of the update")

    for each in agents:
        each.kill()
    # While nobody watches: the second new pod starts, the first one is killed and starts again, an old one goes.
    second = new[1]
    second.scheduled(1)
    second.taken_on(2)
    second.runs(50)
    second.ready(67)
    apply("pods", second.json)
    first.crashes(200, 137, "OOMKilled")
    first.runs(202)
    first.ready(221)
    apply("pods", first.json)
    server.delete("pods", old[1].name)
    server.forget_history()
    agents = [agent(stack, server, tmp_path, f"watcher-{number}-again") for number in range(2)]
    for each in agents:
        each.start()
    expected[second.name] = [(352, "pending"), (354, "pulling"), (402, "initializing"), (419, "running")]
    expected[first.name] += [(503, "failed"), (505, "initializing"), (524, "running")]

    def without_the_last(found: dict[str, list[tuple[int, str]]]) -> dict[str, list[tuple[int, str]]]:
        """Leave out the end of the pod whose deletion was not observed: each agent reports when it found out."""
        return {name: [each for each in states if name != old[1].name or each[1] != "terminated"]
                for name, states in found.items()}  # fmt: skip

    eventually(
        lambda: reported(stack),
        lambda found: without_the_last(found) == expected and found[old[1].name][-1][1] == "terminated",
        30,
        "what happened while nobody watched",
    )
    assert limits(stack) == [(0, 2, 6), (364, 2, 8)]

    runs = [(45, 342), (45, 423), (341, 503), (524, 9999), (419, 9999)]
    seen = series(stack, 600)
    ends = [at_s + 10 - int(BEGIN.timestamp()) for at_s in seen["at"]]
    assert len(ends) == 60
    assert seen["running"] == [sum(begin <= end < stop for begin, stop in runs) for end in ends]
    assert [value for end, value in zip(ends, seen["max_replicas"], strict=True) if end > 10] == [
        8 if end >= 364 else 6 for end in ends if end > 10
    ]
    assert stack.samples(ENDPOINT, "running_replicas", NAMESPACE) == {(): 2.0}

    reasons = stack.rows(
        "SELECT reason FROM replica_events FINAL WHERE namespace = {namespace:String} AND state = 'failed'",
        namespace=NAMESPACE,
    )
    assert reasons == [("OOMKilled: exit code 137",)]
    assert [each.stop() for each in agents] == [0, 0]
    assert reported(stack).keys() == expected.keys()  # an agent that ends ends no replica
    assert stack.samples(ENDPOINT, "running_replicas", NAMESPACE) == {(): 2.0}


def test_a_silent_sidecar_adds_requests_and_no_states(
    stack: Stack, server: ApiServer, tmp_path: Path
) -> None:
    """The variables of the manifest's sidecar: the proxy counts requests, the pod watcher reports states."""
    endpoint = "beside"
    pod = ScriptedPod("beside-1", BEGIN + timedelta(minutes=17, seconds=1), labels={"app": endpoint})
    pod.scheduled(1)
    pod.taken_on(2)
    pod.runs(31)
    pod.ready(45)
    server.apply("pods", pod.json)
    server.apply("deployments", deployment(endpoint, 1, labels={"app": endpoint}))
    config = str(server.kubeconfig(tmp_path))
    watcher = stack.child(
        "beside", "agent", "kubernetes", "--kubeconfig", config, "--selector", "app=beside", "--endpoint", endpoint,
        ready="kubernetes agent ready: 1 pods",
    )  # fmt: skip
    with serving_ok() as port:
        proxy = stack.child(
            "beside-proxy", "agent", "proxy", "--listen", "127.0.0.1:0", "--to", f"http://127.0.0.1:{port}",
            "--no-hardware", ready=r"proxy ready http://127.0.0.1:(\d+)",
            ENDPOINT_ANALYTICS_NAMESPACE="models",  # what the agent takes, since nothing else is configured
            ENDPOINT_ANALYTICS_ENDPOINT=endpoint,
            ENDPOINT_ANALYTICS_REPLICA_ID=pod.name,
            ENDPOINT_ANALYTICS_STATES="off",
            ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY=str(tmp_path / "runtime"),
        )  # fmt: skip
        at = int(proxy.start()[1])
        watcher.start()
        for _ in range(5):
            connection = http.client.HTTPConnection("127.0.0.1", at, timeout=20)
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"ok"
            connection.close()
        for name, value in (
            ("http_requests_total", {(pod.name, "200"): 5.0}),
            ("running_replicas", {(): 1.0}),
        ):
            samples = partial(stack.counted, endpoint, name, "models")
            eventually(samples, partial(operator.eq, value), 30, name)
        assert proxy.stop() == 0  # its own end is no replica's
    pod.deletion_asked(100)
    pod.all_ended(110)
    server.apply("pods", pod.json)
    sql = (
        "SELECT toUnixTimestamp(at), toString(state) FROM replica_events FINAL"
        " WHERE namespace = 'models' AND endpoint = {endpoint:String} ORDER BY at"
    )
    begin = int(pod.begin.timestamp())
    start = [(0, "pending"), (2, "pulling"), (31, "initializing"), (45, "running")]
    whole = [*start, (100, "draining"), (110, "terminated")]
    eventually(
        lambda: [
            (at_s - begin, state) for at_s, state in stack.rows(sql, endpoint=endpoint) if at_s % AGAIN_S
        ],
        lambda found: found == whole,
        30,
        "the pod's life, and nothing else",
    )
    assert watcher.stop() == 0


@contextmanager
def serving_ok() -> Iterator[int]:
    """Serve `ok` at every path, on a free port."""

    class Ok(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Do not log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Ok) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield made.server_port
        finally:
            made.shutdown()
            thread.join()
