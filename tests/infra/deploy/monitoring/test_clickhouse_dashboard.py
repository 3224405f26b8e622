"""Each query of the ClickHouse dashboard, run by the account of analysts on the real engine, shows the truth."""

from __future__ import annotations

import json
import random
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.infra.deploy.monitoring.grafana_text import ALL, Json, panels_of, read, with_sql_variables
from tests.pipeline.serve.api.traffic import Request, exact_quantile, make_requests, window_rows
from tests.pipeline.store.rows import boot, event, hardware, insert, progress, setting, text, window

pytestmark = pytest.mark.slow

DASHBOARD = read("endpoint-clickhouse")
PANELS = {panel["title"]: panel for panel in panels_of(DASHBOARD)}
INTERVAL_S = 60
RANGE_S = 600
ALIVE_S = 1800
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Made:
    """What was stored, and the chosen time: the last ten minutes but one, in whole windows."""

    now: datetime
    from_s: int
    to_s: int
    requests: tuple[Request, ...]

    def chosen(self, replicas: str | tuple[str, ...]) -> list[Request]:
        return [
            request
            for request in self.requests
            if self.from_s <= request.at_s < self.to_s and (replicas == ALL or request.replica in replicas)
        ]


def samples(now: datetime, age_s: float) -> Iterable[dict[str, object]]:
    """One window of hardware of r1 and r2."""
    for replica, factor in (("r1", 1.0), ("r2", 2.0)):
        for metric, value in (
            ("cpu_percent", 20.0),
            ("cpu_throttled_ratio", 0.25),
            ("memory_used_bytes", 100.0),
            ("oom_kills", 3.0 if age_s < 200 else 1.0),
        ):
            yield hardware(now, metric, value * factor, replica=replica, age_s=age_s)
        yield hardware(now, "memory_limit_bytes", 400.0, replica=replica, age_s=age_s)
        for metric, value in (("gpu_percent", 30.0), ("gpu_memory_used_bytes", 10.0)):
            yield hardware(now, metric, value * factor, replica=replica, device="gpu0", age_s=age_s)
        yield hardware(now, "gpu_memory_total_bytes", 80.0, replica=replica, device="gpu0", age_s=age_s)


def engine(now: datetime, age_s: float) -> Iterable[dict[str, object]]:
    for replica, factor in (("r1", 1.0), ("r2", 2.0)):
        for metric, value in (
            ("engine_running_requests", 4.0),
            ("engine_waiting_requests", 2.0),
            ("engine_kv_cache_percent", 25.0),
            ("engine_prompt_tokens_per_second", 100.0),
            ("engine_cached_prompt_tokens_per_second", 50.0),
            ("engine_generated_tokens_per_second", 30.0),
        ):
            yield {**hardware(now, metric, value * factor, replica=replica, age_s=age_s), "engine": "vllm"}


@pytest.fixture(scope="module")
def made(client) -> Made:
    now = datetime.now(UTC)
    to_s = int(now.timestamp()) // INTERVAL_S * INTERVAL_S - INTERVAL_S
    from_s = to_s - RANGE_S
    requests = make_requests([("r1", "b1"), ("r2", "b2")], from_s - 600, to_s + 30, 10, random.Random(1))
    insert(client, "request_windows", window_rows(requests, []))
    others = make_requests([("r1", "b9")], from_s, to_s, 10, random.Random(2))
    insert(client, "request_windows", [{**row, "endpoint": "chat"} for row in window_rows(others, [])])
    ages = [now.timestamp() - at for at in range(from_s, to_s, 10)]
    insert(client, "hardware_windows", [row for age_s in ages for row in samples(now, age_s)])
    insert(client, "engine_windows", [row for age_s in ages for row in engine(now, age_s)])
    at = datetime.fromtimestamp(from_s, UTC)
    events = [("pending", 60), ("pulling", 90), ("running", 150), ("draining", 400)]
    insert(
        client,
        "replica_events",
        [
            *(
                event(at + timedelta(seconds=s), state, replica="r1", age_s=0, offset=s)
                for state, s in events
            ),
            event(at, "running", replica="r2", age_s=600, offset=900),
        ],
    )
    insert(client, "endpoint_settings", [setting(now, 1, 3)])
    insert(
        client,
        "boot_states",
        [
            # Their agents report until in half an hour, so that they are alive however long the tests take.
            boot(now, replica="r1", boot_id="b1", age_s=-ALIVE_S, missing=2, agent_arrived=50, arrived=30,
                 dropped={"buffer_full": 7}, first_at=text(at)),
            boot(now, replica="r2", boot_id="b2", age_s=-ALIVE_S, first_at=text(at)),
        ],
    )  # fmt: skip
    full = {"covered_to_us": 10_000_000, "pending_request_us": 30_000_000, "streaming_request_us": 10_000_000}
    ahead = [window(now, replica="r2", boot_id="b2", age_s=s - ALIVE_S, **full) for s in (0, 10, 20, 30)]
    insert(client, "request_windows", ahead)
    rejected = {"partition": 0, "raw": "", "topic": "endpoint-analytics.requests", "reason": "schema"}
    insert(
        client,
        "rejected",
        [
            {**rejected, "offset": n, "append_time": text(at + timedelta(seconds=n))[:-3], "detail": f"d{n}"}
            for n in (3, 5)
        ],
    )  # fmt: skip
    paused = {
        "stream": "hardware",
        "partition": 3,
        "since": text(at)[:-3],
        "reason": "all of it",
        "version": 1,
    }
    insert(client, "paused_partitions", [{**paused, "paused": 1}])
    insert(
        client,
        "partition_progress",
        [{**row, "partition": 60, "end_offset": 5} for row in progress(now + timedelta(hours=1))],
    )
    return Made(now, from_s, to_s, tuple(requests))


@pytest.fixture
def ask(server, config) -> Callable[[str], Rows]:
    """Run SQL as the analyst, as Grafana does: over HTTP, with the database as the default one."""
    account = server.analyst_config(config.database)

    def ask(sql: str) -> Rows:
        values = {"database": account.database, "default_format": "JSONEachRow", "max_execution_time": "60"}
        request = urllib.request.Request(
            f"{account.url}/?{urllib.parse.urlencode(values)}",
            sql.encode(),
            {"X-ClickHouse-User": account.user, "X-ClickHouse-Key": account.password},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return [json.loads(line) for line in answer.read().splitlines()]

    return ask


def filled(query: str, made: Made, replicas: str | tuple[str, ...] = ALL) -> str:
    variables = {"namespace": "acme", "endpoint": "llm", "replica": replicas}
    return with_sql_variables(query, variables, made.from_s, made.to_s - 1, INTERVAL_S)


def steps(requests: Iterable[Request], width_s: int = INTERVAL_S) -> dict[int, list[Request]]:
    found: dict[int, list[Request]] = defaultdict(list)
    for request in requests:
        found[int(request.at_s) // width_s * width_s].append(request)
    return found


def seconds(at: str) -> int:
    return int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp())


def is_final(request: Request) -> bool:
    return request.status >= 200


Truth = Callable[[Rows, Made, Any], None]


def by_time(rows: Rows) -> dict[int, dict[str, Any]]:
    return {seconds(row.pop("time")): row for row in rows}


def classes(rows, made, replicas):
    wanted = {
        (at, f"{status}xx"): count / INTERVAL_S
        for at, requests in steps(made.chosen(replicas)).items()
        for status, count in Counter(request.status // 100 for request in requests).items()
    }
    assert {(seconds(row["time"]), row["class"]): row["requests"] for row in rows} == pytest.approx(wanted)


def error_shares(rows, made, replicas):
    for at, row in by_time(rows).items():
        final = [r.status for r in steps(made.chosen(replicas))[at] if is_final(r)]
        assert row["5xx"] == pytest.approx(sum(status >= 500 for status in final) / len(final))
        assert row["4xx"] == pytest.approx(sum(400 <= status < 500 for status in final) / len(final))
    assert len(rows) == RANGE_S / INTERVAL_S


def quantiles_of(name: str) -> Truth:
    def check(rows, made, replicas):
        found = by_time(rows)
        for at, requests in steps(made.chosen(replicas)).items():
            values = [getattr(request, name) for request in requests]
            for q, column in ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99")):
                assert found[at][column] == pytest.approx(exact_quantile(values, q), rel=0.0056)
        assert len(found) == RANGE_S / INTERVAL_S

    return check


def quantiles_by_replica(name: str) -> Truth:
    def check(rows, made, replicas):
        found = {(seconds(row["time"]), row["replica_id"]): row["p95"] for row in rows}
        for (at, replica), p95 in found.items():
            values = [getattr(r, name) for r in steps(made.chosen(replicas))[at] if r.replica == replica]
            assert p95 == pytest.approx(exact_quantile(values, 0.95), rel=0.0056)
        assert len(found) == RANGE_S / INTERVAL_S * (2 if replicas == ALL else 1)

    return check


def constant(**wanted: float | Callable[[Any], float]) -> Truth:
    """Each step has the same values: of both replicas, or of r1 only."""

    def check(rows, made, replicas):
        expected = {
            name.replace("__", ", "): value(replicas == ALL) if callable(value) else value
            for name, value in wanted.items()
        }
        found = by_time(rows)
        assert len(found) == RANGE_S / INTERVAL_S
        for row in found.values():
            assert row == pytest.approx(expected)

    return check


def levels(rows, made, replicas):
    """`window_rows` deals a window's requests to two chunks of half a window; in the first, two are pending."""
    chunks: dict[tuple[str, int], set[int]] = defaultdict(set)
    for number, request in enumerate(made.requests):
        chunks[request.replica, int(request.at_s) // 10 * 10].add(number % 2)
    by_window: dict[int, float] = defaultdict(float)
    for (replica, start), found in chunks.items():
        if made.from_s <= start < made.to_s and (replicas == ALL or replica in replicas):
            by_window[start] += 2 * (0 in found) / len(found)
    for at, row in by_time(rows).items():
        means = [mean for start, mean in by_window.items() if start // INTERVAL_S * INTERVAL_S == at]
        pending = sum(means) / len(means)
        assert row == pytest.approx({"pending": pending, "streaming": 0, "active": pending})
    assert len(rows) == RANGE_S / INTERVAL_S


def of_both(one: float, both: float) -> Callable[[bool], float]:
    return lambda all_chosen: both if all_chosen else one


def value(number: Callable[[Made, Any], float], **close: float) -> Truth:
    def check(rows, made, replicas):
        ((found,),) = (row.values() for row in rows)
        assert found == pytest.approx(number(made, replicas), **close)

    return check


def final_requests(made: Made, replicas: Any) -> list[Request]:
    return [request for request in made.chosen(replicas) if is_final(request)]


def error_share(made: Made, replicas: Any) -> float:
    final = final_requests(made, replicas)
    return sum(request.status >= 500 for request in final) / len(final)


def state_of_each(rows, made, replicas):
    """r1 enters its states 60, 90, 150 and 400 s into the range; r2 runs since before."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        found[row["replica_id"]].append(int(row["state_number"]))
    pending, pulling, running, draining = 0, 2, 4, 5
    assert pulling != running
    wanted = {"r1": [pending, pulling, *[running] * 4, *[draining] * 3]}
    if replicas == ALL:
        wanted["r2"] = [running] * 10
    assert dict(found) == wanted


def ready(rows, made, replicas):
    assert [(row["replica"], row["seconds"]) for row in rows] == [("r1", 90)]


def states_left(rows, made, replicas):
    assert {row["state"]: (int(row["times"]), row["mean"], row["longest"]) for row in rows} == {
        "pending": (1, 30, 30),
        "pulling": (1, 60, 60),
        "running": (1, 250, 250),
    }


def replicas_now(rows, made, replicas):
    assert [(row["replica"], row["state"]) for row in rows] == [
        ("r1", "draining"),
        *([("r2", "running")] if replicas == ALL else []),
    ]


def killed(rows, made, replicas):
    wanted = {"r1": 2, "r2": 4} if replicas == ALL else {"r1": 2}
    assert {row["replica"]: row["killed"] for row in rows} == wanted


def losses(rows, made, replicas):
    ((replica, process, batches, missing, dropped),) = (list(row.values())[:5] for row in rows)
    assert (replica, process, int(batches), int(missing), int(dropped)) == ("r1", "b1", 2, 20, 7)


def rejected(rows, made, replicas):
    assert [(row["reason"], int(row["messages"]), row["example"]) for row in rows] == [("schema", 2, "d5")]


def read_to(rows, made, replicas):
    assert [row["stream"] for row in rows] == ["engine", "hardware", "replicas", "requests"]
    assert all(row["behind"] < 0 and int(row["messages"]) == 5 for row in rows)


def paused(rows, made, replicas):
    assert [(row["stream"], row["partition"], row["reason"]) for row in rows] == [
        ("hardware", 3, "all of it")
    ]


def zero_aborted(rows, made, replicas):
    assert all(row == {"pending": 0, "streaming": 0} for row in by_time(rows).values())


TRUTHS: dict[str, Truth] = {
    "Running replicas": value(lambda made, _: 1),
    "Pending per replica": value(lambda made, _: 3),
    "Age of the newest data": value(lambda made, _: -ALIVE_S, abs=120),
    "Requests": value(lambda made, replicas: len(final_requests(made, replicas))),
    "Error share": value(error_share),
    "Latency, p95": value(
        lambda made, replicas: exact_quantile([r.latency_us for r in made.chosen(replicas)], 0.95), rel=0.0056
    ),
    "Requests by class of status": classes,
    "Share of errors": error_shares,
    "Pending, streaming and active": levels,
    "Oldest pending request": constant(oldest=5),
    "Requests that ended early": zero_aborted,
    "Latency": quantiles_of("latency_us"),
    "Time to first byte": quantiles_of("ttfb_us"),
    "Latency p95 by replica": quantiles_by_replica("latency_us"),
    "Time to first byte p95 by replica": quantiles_by_replica("ttfb_us"),
    "State of each replica": state_of_each,
    "Time to ready": ready,
    "Where that time goes": states_left,
    "Replicas now": replicas_now,
    # `hardware` stores a maximum of 1 above the value.
    "CPU": constant(mean=of_both(20, 30), highest=of_both(21, 41)),
    "Memory": constant(mean=of_both(0.25, 0.375), highest=of_both(0.25, 0.5)),
    "GPU": constant(mean=of_both(30, 45), highest=of_both(31, 61)),
    "GPU memory": constant(mean=of_both(0.125, 0.1875), highest=of_both(0.125, 0.25)),
    "CPU held back": constant(mean=of_both(0.25, 0.375), highest=of_both(1.25, 1.5)),
    "Killed for lack of memory": killed,
    "Requests in the engine": constant(running=of_both(4, 12), waiting=of_both(2, 6)),
    "Key-value cache": constant(mean=of_both(25, 37.5), highest=of_both(26, 51)),
    "Tokens": constant(prompt=of_both(100, 300), prompt__cached=of_both(50, 150), generated=of_both(30, 90)),
    "Losses by replica and process": losses,
    "Rejected messages": rejected,
    "How far the pipeline has read": read_to,
    "Paused partitions": paused,
}


def test_each_panel_has_its_truth():
    assert TRUTHS.keys() == PANELS.keys()


@pytest.mark.parametrize("replicas", [ALL, ("r1",)], ids=["all", "r1"])
@pytest.mark.parametrize("title", PANELS)
def test_a_panel_shows_the_truth(ask, made, title, replicas):
    panel: Json = PANELS[title]
    (target,) = panel["targets"]
    rows = ask(filled(target["rawSql"], made, replicas))
    if target["queryType"] == "timeseries":
        times = [seconds(row["time"]) for row in rows]
        assert times == sorted(times)  # as Grafana needs them
        assert made.from_s <= times[0] <= times[-1] < made.to_s
    TRUTHS[title](rows, made, replicas)


def test_the_time_to_ready_of_a_replica_that_was_first_seen_running_is_unknown(ask, client, made):
    at = datetime.fromtimestamp(made.from_s + 60, UTC)
    insert(client, "replica_events", [event(at, "running", replica="r9", age_s=0)])
    try:
        (target,) = PANELS["Time to ready"]["targets"]
        (row,) = ask(filled(target["rawSql"], made, ("r9",)))
    finally:
        client.command("DELETE FROM replica_events WHERE replica_id = 'r9'")
    assert (row["replica"], row["seconds"]) == ("r9", None)


def test_a_partition_that_nobody_read_for_90_days_does_not_hold_its_stream(ask, client, made):
    (target,) = PANELS["How far the pipeline has read"]["targets"]
    before = {row["stream"] for row in ask(filled(target["rawSql"], made))}
    gone = progress(datetime.fromtimestamp(made.to_s, UTC) - timedelta(days=400), partition=9)
    insert(client, "partition_progress", gone)
    try:
        rows = ask(filled(target["rawSql"], made))
    finally:
        client.command("DELETE FROM partition_progress WHERE partition = 9")
    assert {row["stream"] for row in rows} == before
    assert max(row["behind"] for row in rows) < 300 * 86_400


def test_the_account_can_ask_all_that_is_open_at_once(ask, made):
    """Grafana asks the queries of all visible panels together; what is refused would be an error in a panel."""
    targets = [panel["targets"][0] for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    with ThreadPoolExecutor(len(targets)) as pool:
        found = list(pool.map(lambda target: ask(filled(target["rawSql"], made)), targets))
    assert all(found)
    assert len(found) > 15


def test_variables_offer_what_there_is(ask, made):
    """The endpoint is chosen within its namespace, replicas within their endpoint."""
    offered = {}
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            rows = ask(filled(variable["query"]["rawSql"], made))
            offered[variable["name"]] = [value for row in rows for value in row.values()]
    assert offered == {"namespace": ["acme"], "endpoint": ["llm"], "replica": ["r1", "r2"]}
