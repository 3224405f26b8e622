"""A serving engine's own metrics, end to end: from /metrics through an agent and Kafka to SQL, JSON and scrapers."""

from __future__ import annotations

import http.client
import json
import re
import sys
import time
from collections.abc import Iterator

import pytest
from tests.agents.log.lines import nginx_line
from tests.agents.proxy.running import behaviour_server
from tests.agents.scrape.engine_server import EngineServer
from tests.support.parts import Child, Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.whole

RATE = "engine_generated_tokens_per_second"


class Growing(EngineServer):
    """A server with vLLM's metric names; nothing waits, and each response shows 100 more generated tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 3
        self.tokens = 0

    @property
    def text(self) -> str:
        self.tokens += 100
        return (
            "# TYPE vllm:num_requests_waiting gauge\n"
            f'vllm:num_requests_waiting{{engine="0",model_name="m"}} {self.waiting}.0\n'
            f'vllm:num_requests_running{{engine="0",model_name="m"}} 2.0\n'
            f'vllm:kv_cache_usage_perc{{engine="0",model_name="m"}} 0.25\n'
            f'vllm:generation_tokens_total{{engine="0",model_name="m"}} {self.tokens}.0\n'
            'my_slots{kind="lora"} 7\n'
        )

    @text.setter
    def text(self, text: str) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[Growing]:
    with Growing() as server:
        yield server


@pytest.fixture
def run(stack: Stack, tmp_path):
    """Start an agent of the endpoint with these arguments."""
    started: list[Child] = []

    def run(endpoint: str, *words: str, ready: str, **environment: str) -> Child:
        names = ("--namespace", "tests", "--endpoint", endpoint, "--replica-id", "r1")
        child = Child(
            [
                sys.executable,
                "-m",
                "endpoint_analytics.infra.command",
                "agent",
                *words[:1],
                *names,
                *words[1:],
            ],
            {
                **stack.environment,
                "ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY": str(tmp_path / "runtime"),
                **environment,
            },
            tmp_path / f"{words[0]}.log",
            ready,
        )
        started.append(child)
        child.start()
        return child

    yield run
    for child in started:
        child.kill()
        child.process.stdout.close()


def gauges(stack: Stack, endpoint: str) -> dict[str, float]:
    text = stack.scrape(endpoint)
    return {
        name: float(value)
        for name, value in re.findall(r'^(engine_\w+)\{replica_id="r1"\} (\S+)$', text, re.MULTILINE)
    }


def shows(stack: Stack, endpoint: str, name: str, expected: dict[tuple[str, ...], float]) -> None:
    """Wait until OpenMetrics shows these samples: topics arrive at different times."""
    eventually(lambda: stack.samples(endpoint, name), lambda found: found == expected, 30, name)


def series(stack: Stack, endpoint: str) -> dict[str, list[float | None]]:
    connection = http.client.HTTPConnection("127.0.0.1", stack.serve_port, timeout=20)
    try:
        connection.request(
            "GET",
            f"/v2/endpoint/tests/{endpoint}/series?series=engine&step=10&from=now-5m",
            headers={"Authorization": f"Bearer {stack.token}"},
        )
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return {each["name"]: each["values"] for each in answer.get("series", ())}


def test_what_an_engine_tells_is_in_sql_json_and_open_metrics(stack, engine, run):
    endpoint = "engine-alone"
    agent = run(
        endpoint, "scrape", engine.url, "--metric", "engine_slots=my_slots", ready="scraping http://.*\n"
    )
    found = eventually(lambda: gauges(stack, endpoint), lambda found: found.get(RATE, 0) > 0, 30, "rates")
    assert {name: value for name, value in found.items() if name != RATE} == {
        "engine_waiting_requests": 3,
        "engine_running_requests": 2,
        "engine_kv_cache_percent": 25,
        "engine_slots": 7,
    }
    engine.waiting = 9
    eventually(
        lambda: gauges(stack, endpoint),
        lambda found: found.get("engine_waiting_requests") == 9,
        30,
        "a change",
    )
    shows(stack, endpoint, "running_replicas", {(): 1})
    engine.stop()
    gone = eventually(lambda: gauges(stack, endpoint), lambda found: not found, 40, "an engine that is away")
    assert gone == {}
    stored = stack.rows(
        "SELECT engine, min(min), max(max), sum(samples) FROM engine_10s"
        " WHERE endpoint = {endpoint:String} AND metric = 'engine_waiting_requests' GROUP BY engine",
        endpoint=endpoint,
    )
    ((name, least, most, samples),) = stored
    assert (name, least, most) == ("vllm", 3, 9)
    drawn = [value for value in series(stack, endpoint)["engine_waiting_requests"] if value is not None]
    assert 3 <= min(drawn) <= max(drawn) <= 9  # away is a gap, and no 0
    # Every answer is a sample, but the rate has none of the first: what was generated is its sum, times a second.
    ((rates,),) = stack.rows(
        "SELECT sum(samples) FROM engine_10s WHERE endpoint = {endpoint:String} AND metric = {metric:String}",
        endpoint=endpoint,
        metric=RATE,
    )
    assert rates == samples - 1
    eventually(
        lambda: stack.samples(endpoint, "running_replicas"),
        lambda found: found == {(): 0},
        40,
        "a replica that is gone",
    )
    engine.start()
    eventually(
        lambda: gauges(stack, endpoint),
        lambda found: "engine_waiting_requests" in found,
        30,
        "an engine again",
    )
    assert agent.stop(30) == 0
    log = agent.log.read_text()
    assert log.count("cannot scrape") == log.count("can be scraped again") == 1
    ((missing, duplicates, batches),) = stack.rows(
        "SELECT missing, duplicates, batches FROM boots FINAL"
        " WHERE endpoint = {endpoint:String} AND stream = 'engine'",
        endpoint=endpoint,
    )
    assert (missing, duplicates) == (0, 0)
    assert batches > samples


@pytest.mark.slow
def test_each_answer_is_stored_once_though_the_worker_is_killed(stack, engine, run):
    endpoint = "engine-replayed"

    def batches() -> tuple[int, int, int]:
        found = stack.rows(
            "SELECT max(next_seq), sum(batches), sum(missing) FROM boots FINAL"
            " WHERE endpoint = {endpoint:String} AND stream = 'engine'",
            endpoint=endpoint,
        )
        return tuple(map(int, found[0]))

    agent = run(
        endpoint,
        "scrape",
        engine.url,
        ready="scraping http://.*\n",
        ENDPOINT_ANALYTICS_SCRAPE_INTERVAL_S="0.1",
    )
    for number in (10, 30):
        eventually(batches, lambda found, number=number: found[1] >= number, 60, f"{number} batches")
        stack.worker.kill()
        stack.worker.start()
    assert agent.stop(30) == 0
    sent = len(engine.requests)

    def stored() -> tuple[int, int, int, int]:
        ((samples,),) = stack.rows(
            "SELECT sum(samples) FROM engine_10s"
            " WHERE endpoint = {endpoint:String} AND metric = 'engine_waiting_requests'",
            endpoint=endpoint,
        )
        return (samples, *batches())

    # The last response may have arrived after the agent was told to stop.
    all_batches = {(number, number, number, 0) for number in (sent - 1, sent)}
    eventually(stored, lambda found: found in all_batches, 60, f"{sent} answers, each once")


def test_a_proxy_that_scrapes_is_one_replica_with_requests_and_an_engine(stack, engine, run, tmp_path):
    endpoint = "engine-proxied"
    server, server_port = behaviour_server(tmp_path)
    try:
        proxy = run(
            endpoint,
            "proxy",
            *("--to", f"http://127.0.0.1:{server_port}", "--listen", "127.0.0.1:0", "--no-hardware"),
            *("--scrape", engine.url),
            ready=r"proxy ready http://127.0.0.1:(\d+) ",
        )
        beside = run(endpoint, "scrape", engine.url, ready="scraping http://.*\n")
        found = eventually(lambda: gauges(stack, endpoint), lambda found: found.get(RATE, 0) > 0, 30, "rates")
        assert found["engine_waiting_requests"] == 3
        shows(stack, endpoint, "running_replicas", {(): 1})
        shows(stack, endpoint, "pending_requests", {("r1",): 0})
        assert beside.stop(30) == 0
        proxy.stop(30)
        eventually(
            lambda: stack.samples(endpoint, "replica_state"),
            lambda states: states.get(("r1", "terminated")) == 1,
            30,
            "the proxy's end",
        )
        boots = stack.rows(
            "SELECT stream, count() FROM boots FINAL WHERE endpoint = {endpoint:String}"
            " GROUP BY stream ORDER BY stream",
            endpoint=endpoint,
        )
        assert boots == [("engine", 1), ("requests", 1)]  # of the two, one scraped
    finally:
        server.kill()
        server.process.stdout.close()


def test_a_log_reader_that_scrapes_is_one_replica_with_requests_and_an_engine(stack, engine, run, tmp_path):
    endpoint = "engine-logged"
    log = tmp_path / "access.log"
    log.touch()
    reader = run(
        endpoint,
        "log",
        *(str(log), "--format", "nginx", "--no-hardware", "--exclude-paths", "/health"),
        *("--scrape", engine.url, "--metric", "engine_slots=my_slots"),
        ready="log reader ready .*\n",
    )
    with log.open("a") as file:
        for path in ("/predict", "/health", "/health?full", "/predict?a=/health"):
            file.write(nginx_line(time.time(), request=f"GET {path} HTTP/1.1") + "\n")
    found = eventually(lambda: gauges(stack, endpoint), lambda found: found.get(RATE, 0) > 0, 30, "rates")
    assert (found["engine_waiting_requests"], found["engine_slots"]) == (3, 7)
    eventually(
        lambda: stack.counted(endpoint, "http_requests_total"),
        lambda statuses: statuses == {("r1", "200"): 2},
        30,
        "the lines that are not left out",
    )
    shows(stack, endpoint, "running_replicas", {(): 1})
    assert reader.stop(30) == 0


def test_a_launcher_and_a_variable_scrape_too(stack, engine, run):
    endpoint = "engine-launched"
    launcher = run(
        endpoint, "run", "--no-hardware", "--", sys.executable, "-c",
        "import os, sys, time; print('server', os.environ['ENDPOINT_ANALYTICS_SCRAPE'], flush=True); time.sleep(600)",
        ready="server off\n", ENDPOINT_ANALYTICS_SCRAPE=engine.url,
    )  # fmt: skip
    found = eventually(lambda: gauges(stack, endpoint), lambda found: found.get(RATE, 0) > 0, 30, "rates")
    assert found["engine_running_requests"] == 2
    shows(stack, endpoint, "running_replicas", {(): 1})
    launcher.stop(30)
