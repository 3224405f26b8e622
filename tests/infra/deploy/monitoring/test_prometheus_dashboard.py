"""Each query of the Prometheus dashboard, asked of a real Prometheus 3 that scrapes the real service: right figures.

Two endpoints have requests before Prometheus comes, and more, which are slower, while it scrapes: rates and quantiles
are of the latter alone. The rules are loaded too, and all of them can be evaluated.
"""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from tests.infra.deploy.monitoring.grafana_text import DIRECTORY, panels_of, read, with_promql_variables
from tests.infra.deploy.monitoring.two_endpoints import (
    ALIVE_S,
    REPLICAS,
    figure,
    make_traffic,
    store_first,
    store_second,
)
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.serve.api.traffic import Request, exact_quantile
from tests.support import judges
from tests.support.prometheus import running_prometheus
from tests.support.waiting import until

from endpoint_analytics.pipeline.serve.scrape.endpoint_families import HISTOGRAM_BOUNDS_S
from endpoint_analytics.pipeline.store.rollup import roll_up
from endpoint_analytics.pipeline.store.tokens import create_token

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SCRAPE_TIMEOUT_S = 1
RULES = DIRECTORY.parent / "prometheus" / "endpoints.rules.yaml"
CONFIG = """
global:
  scrape_interval: 1s
  scrape_timeout: {timeout_s}s
  evaluation_interval: 1s
  scrape_native_histograms: {native}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: endpoints
    authorization: {{credentials: "{token}"}}
    http_sd_configs:
      - url: http://127.0.0.1:{port}/v2/endpoint/acme/http-sd
        refresh_interval: 1h
        authorization: {{credentials: "{token}"}}
"""
RATE_S, RANGE_S = 60, 60
DASHBOARD = read("endpoints-prometheus")
PANELS = {panel["title"]: panel for panel in panels_of(DASHBOARD)}

Found = dict[str, float]


@dataclass(frozen=True)
class Chosen:
    """What the variables choose: endpoints, replicas, and the requests that came while Prometheus scraped."""

    endpoints: tuple[str, ...]
    replicas: tuple[tuple[str, str], ...]
    requests: tuple[tuple[str, Request], ...]

    def durations(self, name: str) -> list[int]:
        return [getattr(request, name) for _, request in self.requests]

    @property
    def final(self) -> list[int]:
        return [request.status for _, request in self.requests if request.status >= 200]

    def of(self, endpoint: str, replica: str | None = None) -> Chosen:
        def is_its(name: str, other: str) -> bool:
            return name == endpoint and replica in (None, other)

        return Chosen(
            (endpoint,),
            tuple(each for each in self.replicas if is_its(*each)),
            tuple(each for each in self.requests if is_its(each[0], each[1].replica)),
        )


class Choice(NamedTuple):
    variables: dict[str, str | tuple[str, ...]]
    endpoints: tuple[str, ...]
    replicas: tuple[tuple[str, str], ...]


EVERY = ".+"
CHOICES = {
    "all": Choice(
        {"namespace": EVERY, "endpoint": EVERY, "replica": EVERY},
        ("llm", "chat"),
        tuple((endpoint, replica) for endpoint, replicas in REPLICAS.items() for replica in replicas),
    ),
    "one endpoint": Choice(
        {"namespace": ("acme",), "endpoint": ("chat",), "replica": EVERY},
        ("chat",),
        (("chat", "r1"), ("chat", "r9")),
    ),
    "two replicas": Choice(
        {"namespace": ("acme",), "endpoint": ("llm", "chat"), "replica": ("r2", "r9")},
        ("llm", "chat"),
        (("llm", "r2"), ("chat", "r9")),
    ),
}


class Prometheus:
    """A real Prometheus, and the moment that all queries are about."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/api/v1"
        self.at: float | None = None

    def get(self, path: str, **values: str) -> Any:
        try:
            address = f"{self._address}/{path}?{urllib.parse.urlencode(values)}"
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code != 503:  # it is not ready yet
                pytest.fail(error.read().decode())
            return {"result": []}
        except OSError:
            return {"result": []}

    def ask(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(
            "query", query=query, **({} if self.at is None else {"time": str(self.at)})
        )["result"]
        return found

    def settles(self) -> bool:
        """Ask about one moment from now on, if both endpoints are there at it. All scrapes of before have ended."""
        self.at = datetime.now(UTC).timestamp() - 2 * SCRAPE_TIMEOUT_S
        return self.number("count(running_replicas)") == len(REPLICAS)

    def number(self, query: str) -> float:
        found = self.ask(query)
        return float(found[0]["value"][1]) if found else float("nan")


@pytest.fixture(scope="module", params=[True, False], ids=["native", "classic"])
def native(request) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def scraped(native, client, config, start_service, tmp_path_factory):
    """Yield Prometheus after it has scraped both phases, and the requests of the second one."""
    for table in (
        *(
            "request_windows",
            "request_minutes",
            "request_hours",
            "hardware_windows",
            "engine_windows",
            "rollups",
        ),
        *("boot_states", "boots", "replica_events"),
    ):
        client.command(f"TRUNCATE TABLE {table}")
    traffic = make_traffic()
    store_first(client, traffic)
    asyncio.run(roll_up(ClientExecutor(client)))

    token = create_token(client, "acme", "prometheus", traffic.now)
    text = CONFIG.format(
        token=token,
        port=start_service(config).port,
        rules=RULES,
        timeout_s=SCRAPE_TIMEOUT_S,
        native=str(native).lower(),
    )
    directory = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(judges.prometheus(), directory, text) as process:
        prometheus, said = Prometheus(process.port), process.log.read_text
        series = "count(count_over_time(http_requests_total{status_code='200'}[1m]) >= 5)"
        until(lambda: prometheus.number(series) == 4, 60, said())
        store_second(client, traffic)
        total = traffic.total
        count = "histogram_count(sum(latency_seconds))" if native else "sum(latency_seconds_count)"
        until(
            lambda: prometheus.number("sum(http_requests_total)") == prometheus.number(count) == total,
            60,
            said(),
        )
        until(lambda: prometheus.number("min(count_over_time(up[1m]))") >= 20, 60, said())
        until(prometheus.settles, 60, said())
        yield prometheus, traffic.during


def shown(prometheus: Prometheus, panel: dict[str, Any], choice: Choice) -> Found:
    """Return what a panel shows: the figure of each series by its legend."""
    found: Found = {}
    for target in panel["targets"]:
        query = with_promql_variables(target["expr"], choice.variables, RATE_S, RANGE_S)
        for series in prometheus.ask(query):
            labels = series["metric"]
            template = target.get("legendFormat") or " ".join(sorted(labels.values()))
            legend = re.sub(r"\{\{(\w+)\}\}", lambda match, of=labels: of[match[1]], template)
            assert legend not in found
            found[legend] = float(series["value"][1])
    return found


Truth = Callable[[Found, Chosen, bool], None]
BOUNDS = (0, *HISTOGRAM_BOUNDS_S)
NEAR = {"rel": 0.1}
"""A rate over a window reaches half a scrape interval beyond its samples."""


def rates(group: Callable[[str, Request], str], factor: float = 1 / RATE_S) -> Truth:
    def check(found: Found, chosen: Chosen, native: bool) -> None:
        wanted = Counter(group(endpoint, request) for endpoint, request in chosen.requests)
        assert {name: value for name, value in found.items() if value} == pytest.approx(
            {name: count * factor for name, count in wanted.items()}, **NEAR
        )

    return check


def exactly(figures: Callable[[Chosen], Found], **near: float) -> Truth:
    def check(found: Found, chosen: Chosen, native: bool) -> None:
        assert found == pytest.approx(figures(chosen), **near)

    return check


def share(statuses: list[int], of: int) -> float:
    return sum(status // 100 == of for status in statuses) / len(statuses)


def is_quantile(found: float, values: list[int], q: float, native: bool) -> bool:
    """Whether it is the quantile within 1.1 %, or, of classic buckets, in the same bucket.

    The ranks may differ a little: each target has its own times of scraping, so that its rate counts up to 5 % more.
    """
    slack = 0.015 if q < 0.9 else 0.005
    least, most = (exact_quantile(values, rank) for rank in (q - slack, q + slack))
    if not native:
        least = max(bound for bound in BOUNDS if bound <= least)
        most = min(bound for bound in BOUNDS if bound >= most)
    return least * 0.989 <= found <= most * 1.011


def quantiles(name: str, extra: Found) -> Truth:
    def check(found: Found, chosen: Chosen, native: bool) -> None:
        assert found.keys() == {"p50", "p90", "p95", "p99"} | extra.keys()
        for q, legend in ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99")):
            assert is_quantile(found[legend], chosen.durations(name), q, native), (legend, found)
        assert {legend: found[legend] for legend in extra} == extra

    return check


def p95(found: Found, chosen: Chosen, native: bool) -> None:
    (value,) = found.values()
    assert is_quantile(value, chosen.durations("latency_us"), 0.95, native)


def p95_by_endpoint(found: Found, chosen: Chosen, native: bool) -> None:
    assert found.keys() == {f"acme/{endpoint}" for endpoint in chosen.endpoints}
    for endpoint in chosen.endpoints:
        values = chosen.of(endpoint).durations("latency_us")
        assert is_quantile(found[f"acme/{endpoint}"], values, 0.95, native)


def p95_by_replica(found: Found, chosen: Chosen, native: bool) -> None:
    assert found.keys() == {f"{endpoint} {replica}" for endpoint, replica in chosen.replicas}
    for endpoint, replica in chosen.replicas:
        values = chosen.of(endpoint, replica).durations("latency_us")
        assert is_quantile(found[f"{endpoint} {replica}"], values, 0.95, native)


def figures(chosen: Chosen) -> list[int]:
    return [figure(*each) for each in chosen.replicas]


def total(factor: float) -> Callable[[Chosen], float]:
    return lambda chosen: factor * sum(figures(chosen))


def series(**parts: Callable[[Chosen], float]) -> Truth:
    return exactly(lambda chosen: {name.replace("__", " "): part(chosen) for name, part in parts.items()})


def rising(**parts: Callable[[Chosen], float]) -> Truth:
    return exactly(
        lambda chosen: {name.replace("__", " "): part(chosen) for name, part in parts.items()}, **NEAR
    )


def mean_and_highest(factor: float) -> Truth:
    return series(
        mean=lambda chosen: factor * sum(figures(chosen)) / len(chosen.replicas),
        highest=lambda chosen: factor * max(figures(chosen)),
    )


def alone(figure: Callable[[Chosen], float], **near: float) -> Truth:
    return exactly(lambda chosen: {"": figure(chosen)}, **near)


RUNNING = {"llm": 2, "chat": 1}
LIMITS = {"llm": (1, 3), "chat": (2, 4)}
STATES = {("llm", "r1"): 4, ("llm", "r2"): 4, ("chat", "r1"): 3, ("chat", "r9"): 4}


def running(chosen: Chosen) -> float:
    return sum(RUNNING[endpoint] for endpoint in chosen.endpoints)


def states(found: Found, chosen: Chosen, native: bool) -> None:
    numbers = [STATES[each] for each in chosen.replicas]
    assert {state: count for state, count in found.items() if count} == {
        state: numbers.count(number)
        for state, number in (("initializing", 3), ("running", 4))
        if number in numbers
    }
    assert len(found) == 8


def starting(found: Found, chosen: Chosen, native: bool) -> None:
    """It was initializing for as long as Prometheus has scraped: 10 s or more, in steps of 15 s."""
    wanted = {"chat r1"} if ("chat", "r1") in chosen.replicas else set()
    assert found.keys() == wanted
    assert all(value in {15, 30, 45, 60} for value in found.values())


TRUTHS: dict[str, Truth] = {
    "Requests": alone(lambda chosen: len(chosen.final) / RATE_S, **NEAR),
    "Error share": alone(lambda chosen: share(chosen.final, 5), rel=0.01),
    "Latency, p95": p95,
    "Active requests": alone(total(11)),
    "Running replicas": alone(running),
    "Age of the newest data": alone(lambda chosen: -ALIVE_S, abs=200),
    "Requests by class of status": rates(lambda _, request: f"{request.status // 100}xx"),
    "Share of errors": exactly(
        lambda chosen: {"5xx": share(chosen.final, 5), "4xx": share(chosen.final, 4)}, rel=0.01
    ),
    "Requests by status": rates(lambda _, request: str(request.status)),
    "Share of errors by endpoint": exactly(
        lambda chosen: {
            f"acme/{endpoint}": share(chosen.of(endpoint).final, 5) for endpoint in chosen.endpoints
        },
        rel=0.01,
    ),
    "Requests that ended early": rising(pending=total(10 / RATE_S), streaming=total(20 / RATE_S)),
    "Pending, streaming and active": series(pending=total(1), streaming=total(10), active=total(11)),
    "Oldest pending request": series(oldest=lambda chosen: max(figures(chosen))),
    "Latency": quantiles("latency_us", {"objective": 10}),
    "Time to first byte": quantiles("ttfb_us", {}),
    "Latency p95 by endpoint": p95_by_endpoint,
    "Latency p95 of the ten slowest replicas": p95_by_replica,
    "Running replicas and their limits": series(
        running=running,
        unknown=lambda chosen: 0,
        minimum=lambda chosen: sum(LIMITS[endpoint][0] for endpoint in chosen.endpoints),
        maximum=lambda chosen: sum(LIMITS[endpoint][1] for endpoint in chosen.endpoints),
    ),
    "Replicas by state": states,
    "State of each replica": exactly(
        lambda chosen: {
            f"{endpoint} {replica}": STATES[endpoint, replica] for endpoint, replica in chosen.replicas
        }
    ),
    "Time to ready": starting,
    "CPU": mean_and_highest(20),
    "Memory": mean_and_highest(0.1),
    "Memory used": series(used=total(10), limit=lambda chosen: 100 * len(chosen.replicas)),
    "GPU": mean_and_highest(20),
    "GPU memory": mean_and_highest(0.1),
    "GPU power": series(power=total(300)),
    "GPU temperature": mean_and_highest(15),
    "Held back": series(
        CPU=lambda chosen: 0.1 * sum(figures(chosen)) / len(chosen.replicas),
        GPU=lambda chosen: 0.2 * sum(figures(chosen)) / len(chosen.replicas),
    ),
    "Out of memory, and GPU errors": rising(killed=total(1), memory__errors=total(2), XID=total(3)),
    "Requests in the engine": series(running=total(4), waiting=total(2)),
    "Key-value cache": mean_and_highest(25),
    "Tokens": exactly(
        lambda chosen: {
            "prompt": 100 * sum(figures(chosen)),
            "prompt, cached": 50 * sum(figures(chosen)),
            "generated": 30 * sum(figures(chosen)),
        }
    ),
    "Requests through the engine": series(finished=total(6), failed=total(0.5)),
    "Preemptions": series(preemptions=total(0.25)),
    "Requests missing from all figures": rising(buffer_full=total(5), missing=total(0)),
    "Missing batches": exactly(
        lambda chosen: {"requests": 2 * len(chosen.replicas), "hardware": 0, "engine": 0}
    ),
    "Copied boots and conflicting batches": rising(
        copied__boots=lambda chosen: len(chosen.replicas),
        conflicting__batches=lambda chosen: 3 * len(chosen.replicas),
    ),
    "Age of the newest data by endpoint": exactly(
        lambda chosen: {f"acme/{endpoint}": -ALIVE_S for endpoint in chosen.endpoints}, abs=200
    ),
    "Replicas of unknown state by endpoint": exactly(
        lambda chosen: {f"acme/{endpoint}": 0 for endpoint in chosen.endpoints}
    ),
}


def test_each_panel_has_its_truth():
    assert TRUTHS.keys() == PANELS.keys()


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("title", PANELS)
def test_a_panel_shows_the_truth(scraped, native, title, choice):
    prometheus, during = scraped
    endpoints, replicas = CHOICES[choice].endpoints, CHOICES[choice].replicas
    chosen = Chosen(
        endpoints,
        replicas,
        tuple(
            (endpoint, request)
            for endpoint, requests in during.items()
            for request in requests
            if (endpoint, request.replica) in replicas
        ),
    )
    TRUTHS[title](shown(prometheus, PANELS[title], CHOICES[choice]), chosen, native)


def test_variables_offer_what_there_is(scraped):
    prometheus, _ = scraped
    offered = {}
    variables = {"namespace": ("acme",), "endpoint": ("llm",), "replica": EVERY}
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            query = with_promql_variables(variable["query"]["query"], variables, RATE_S, RANGE_S)
            match = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
            assert match
            offered[variable["name"]] = prometheus.get(f"label/{match[2]}/values", **{"match[]": match[1]})
    assert offered == {"namespace": ["acme"], "endpoint": ["chat", "llm"], "replica": ["r1", "r2"]}


def test_all_rules_can_be_evaluated(scraped):
    prometheus, _ = scraped
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {(rule["name"], rule["health"], rule.get("lastError", "")) for rule in rules} == {
        (rule["name"], "ok", "") for rule in rules
    }
    assert len(rules) > 25
    assert prometheus.number("endpoint:http_errors:ratio_rate5m{endpoint_name='llm'}") > 0
