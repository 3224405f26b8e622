"""The API of the real service on a real ClickHouse: figures against the truth, at every level."""

import asyncio
import json
import random
import uuid
from collections import Counter
from datetime import UTC, datetime

import pytest
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.serve.api.traffic import exact_quantile, make_requests, window_rows
from tests.pipeline.store.rows import boot, event, hardware, insert, setting

from endpoint_analytics.pipeline.store.rollup import roll_up

CHANCE = random.Random(5)
BOOTS = (("r1", "b1"), ("r1", "b2"), ("r2", "b3"))
NOW = datetime.now(UTC)
BEGIN = END = 0
GAP = (0, 0)


@pytest.fixture(scope="module", autouse=True)
def _clock():
    """Times as of the first test: a module may be collected long before it runs."""
    global NOW, BEGIN, END, GAP
    NOW = datetime.now(UTC)
    END = int(NOW.timestamp()) // 10 * 10 - 20
    BEGIN = END - 3 * 3600
    GAP = (BEGIN + 3600, BEGIN + 4200)  # nobody reports here


@pytest.fixture(scope="module")
def requests_made():
    made = make_requests(BOOTS, BEGIN, END, 2, CHANCE)
    return [request for request in made if not GAP[0] <= request.at_s < GAP[1]]


@pytest.fixture(scope="module")
def service(config, client, requests_made, start_service):
    """Rows as replays leave them: an older version, then all rows, then some of them again."""
    covered = [
        (replica, each, window)
        for replica, each in BOOTS
        for window in range(BEGIN, END, 10)
        if not GAP[0] <= window < GAP[1]
    ]
    insert(client, "request_windows", window_rows(requests_made[::2], covered, version=1))
    insert(client, "request_windows", window_rows(requests_made, covered, version=9))
    status = Counter(request.status for request in requests_made)
    age_s = 1.0
    insert(
        client,
        "boot_states",
        [
            boot(NOW, replica="r1", boot_id="b1", age_s=age_s - 3600, status=dict(status), pending=2),
            boot(NOW, replica="r2", boot_id="b3", age_s=age_s - 3600),
        ],
    )
    insert(
        client,
        "hardware_windows",
        [
            hardware(NOW, "cpu_percent", value, replica=replica, age_s=60.0 + 10 * window)
            for window in range(60)
            for replica, value in (("r1", 20.0), ("r2", 40.0), ("r3", 90.0))
        ]
        + [
            {**hardware(NOW, "network_sent_bytes", 5000.0, replica="r1", age_s=60.0 + 10 * window)}
            for window in range(60)
        ]
        + [
            hardware(NOW, "gpu_percent", 50.0, replica="r1", device=f"gpu{gpu}", age_s=120.0)
            for gpu in range(2)
        ],
    )
    insert(
        client,
        "engine_windows",
        [
            hardware(NOW, metric, value, replica=replica, age_s=60.0 + 10 * window)
            for window in range(60)
            for replica, value in (("r1", 2.0), ("r2", 6.0), ("r3", 90.0))
            for metric in ("engine_waiting_requests", "engine_own_percent")
        ],
    )
    insert(
        client,
        "replica_events",
        [
            event(NOW, "pending", replica="r1", age_s=7300),
            event(NOW, "running", replica="r1", age_s=7200),
            event(NOW, "running", replica="r2", age_s=3600),
            event(NOW, "pulling", replica="r3", age_s=900),
            event(NOW, "pending", replica="old", age_s=90_000),
            event(NOW, "terminated", replica="old", age_s=86_000),
        ],
    )
    insert(client, "endpoint_settings", [setting(NOW, 0, 2, age_s=9000), setting(NOW, 1, 4, age_s=3000)])
    asyncio.run(roll_up(ClientExecutor(client)))
    insert(client, "request_windows", window_rows(requests_made, covered, version=9)[:500])
    asyncio.run(roll_up(ClientExecutor(client)))
    return start_service(config, "--cache", "0", "--rollup-every", "0")


@pytest.fixture
def ask(service, token):
    def ask(path="series", endpoint="llm", status=200, **parameters):
        query = "&".join(f"{name.rstrip('_')}={value}" for name, value in parameters.items())
        answer = service.get(
            f"/v2/endpoint/acme/{endpoint}/{path}?{query}", {"Authorization": f"Bearer {token}"}
        )
        assert answer.status == status, answer.text
        return json.loads(answer.body)

    return ask


def line(answer, name, group=None):
    (found,) = [
        each["values"] for each in answer["series"] if each["name"] == name and group in (None, each["group"])
    ]
    return found


def of(made, at, step, replica=None):
    return [
        request
        for request in made
        if at <= request.at_s < at + step and (replica is None or request.replica == replica)
    ]


@pytest.mark.parametrize("step", [10, 30, 60, 120, 3600])
@pytest.mark.parametrize("replica", [None, "r1"])
def test_every_step_is_the_truth(ask, requests_made, step, replica):
    chosen = {} if replica is None else {"replica": replica}
    answer = ask(
        from_=BEGIN, to=END, step=step, series="requests,pending,latency,ttfb", include="summary", **chosen
    )
    assert answer["step"] == step
    assert answer["level"] == max(level for level in (10, 60, 3600) if level <= step)
    assert answer["from"] == BEGIN // step * step
    assert answer["to"] == -(-END // step) * step
    assert answer["at"] == list(range(answer["from"], answer["to"], step))
    gaps = 0
    for place, at in enumerate(answer["at"]):
        found = of(requests_made, at, step, replica)
        if not any(at <= window < at + step for window in covered_windows()):
            assert line(answer, "2xx")[place] is None
            assert line(answer, "pending_mean")[place] is None
            gaps += 1
            continue
        for name in ("1xx", "2xx", "4xx", "5xx"):
            count = sum(request.status // 100 == int(name[0]) for request in found)
            assert line(answer, name)[place] == count
        assert line(answer, "aborted")[place] == 0
        for group in ("latency", "ttfb"):
            values = [getattr(request, f"{group}_us") for request in found]
            assert line(answer, "count", group)[place] == len(values)
            for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                shown = line(answer, name, group)[place]
                if values:
                    assert shown == pytest.approx(exact_quantile(values, q), rel=0.0101)
                else:
                    assert shown is None
            if values:
                assert line(answer, "mean", group)[place] == pytest.approx(sum(values) / len(values) / 1e6)
                assert line(answer, "max", group)[place] == max(values) / 1e6
        assert line(answer, "pending_mean")[place] == pytest.approx(2 if replica else 3)
        assert line(answer, "pending_max")[place] == (4 if replica else 6)
    assert gaps >= (600 // step - 1)
    check_summary(answer["summary"], requests_made, replica)
    alone = ask(from_=BEGIN, to=END, step=step, series="requests", include="summary", **chosen)["summary"]
    assert alone == answer["summary"]  # read as a whole, from the coarsest levels


def covered_windows():
    return [window for window in range(BEGIN, END, 10) if not GAP[0] <= window < GAP[1]]


def check_summary(summary, made, replica):
    chosen = [request for request in made if replica is None or request.replica == replica]
    final = [request for request in chosen if request.status >= 200]
    assert summary["final"] == len(final)
    assert summary["informational"] == len(chosen) - len(final)
    assert sum(each["count"] for each in summary["classes"]) == len(final)
    assert sum(each["share"] for each in summary["classes"]) == pytest.approx(1)
    assert summary["statuses"] == {
        str(status): count for status, count in Counter(request.status for request in chosen).items()
    }
    latencies = [request.latency_us for request in chosen]
    assert summary["latency"]["p95"] == pytest.approx(exact_quantile(latencies, 0.95), rel=0.0101)
    assert summary["latency"]["count"] == len(chosen)
    assert summary["oldest_pending"] == 5


def test_by_status_and_the_empty_range(ask, requests_made):
    answer = ask(from_=BEGIN, to=BEGIN + 600, step=60, by="status", series="requests")
    names = [each["name"] for each in answer["series"]]
    assert names == [*sorted({str(r.status) for r in requests_made if r.at_s < BEGIN + 600}), "aborted"]
    answer = ask(from_=GAP[0], to=GAP[1], step=10, include="summary", series="requests,latency")
    assert {value for each in answer["series"] for value in each["values"]} == {None}
    summary = answer["summary"]
    assert (summary["covered"], summary["final"]) == (False, 0)
    assert {each["share"] for each in summary["classes"]} == {None}
    assert (summary["aborted"]["share"], summary["latency"]["p50"]) == (None, None)
    assert (summary["pending_mean"], summary["oldest_pending"]) == (None, None)


def test_since_gives_the_newest_steps_of_the_same_grid(ask):
    whole = ask(from_=END - 900, to="now", step=10)
    again = ask(from_=END - 900, to="now", step=10, since=END - 35)
    assert again["from"] == whole["from"]
    assert again["at"][0] == (END - 35) // 10 * 10
    for old, new in zip(whole["series"], again["series"], strict=True):
        count = len(range(again["at"][0], whole["to"], 10))
        assert old["values"][-count:] == new["values"][:count]
    assert whole["incomplete_from"] in whole["at"]
    assert whole["incomplete_from"] >= whole["at"][-1] - 20
    assert ask(from_=BEGIN, to=END - 600, step=60)["incomplete_from"] is None


def test_the_step_follows_from_the_points(ask):
    for length, step in ((900, 10), (3600, 20), (6 * 3600, 120), (86_400, 300), (30 * 86_400, 10_800)):
        answer = ask(from_=f"now-{length}s", series="requests")
        assert answer["step"] == step
        assert len(answer["at"]) <= 301


def test_replicas_timeline_and_events(ask):
    answer = ask(series="replicas", include="replicas,timeline,events", from_="now-3h", step=10, to="now")
    known = {each["replica"]: each for each in answer["replicas"]}
    assert {name: each["state"] for name, each in known.items()} == {
        "r1": "running",
        "r2": "running",
        "r3": "pulling",
    }
    assert known["r1"]["boots"] == 1
    bars = {each["replica"]: each for each in answer["timeline"]}
    assert [each["state"] for each in bars["r1"]["states"]] == ["pending", "running"]
    assert bars["r1"]["ready_seconds"] == pytest.approx(100)
    assert bars["r1"]["states"][0]["seconds"] == pytest.approx(100)
    assert bars["r1"]["states"][1]["to"] is None
    running, most = line(answer, "running"), line(answer, "max_replicas")
    assert running[-1] == 2
    assert {1, 2} <= set(running)
    assert (most[0], most[-1]) == (None, 4) or (most[0], most[-1]) == (2, 4)
    kinds = [(each["kind"], each["replica"], each["state"], each["running"]) for each in answer["events"]]
    assert ("state", "r2", "running", 2) in kinds
    assert ("settings", None, None, 2) in kinds
    only = ask("timeline", replica="r3", from_="now-3h")
    assert [bar["replica"] for bar in only["timeline"]] == ["r3"]


def test_hardware_is_the_average_of_running_replicas_or_each(ask):
    times = {"from_": END - 700, "to": END, "series": "hardware"}
    for step in (10, 60, 3600):
        answer = ask(**times, step=step, metrics="cpu_percent,network_sent_bytes")
        cpu = [value for value in line(answer, "cpu_percent") if value is not None]
        assert cpu
        assert set(cpu) == {30.0}  # r3 does not run
        sent = {value for value in line(answer, "network_sent_bytes") if value is not None}
        assert sent == {1000.0}
        details = ask(**times, step=step, metrics="cpu_percent,gpu_percent", details="true")
        found = {
            (each["name"], each["replica"], each["device"]): next(v for v in each["values"] if v is not None)
            for each in details["series"]
        }
        assert found == {
            ("cpu_percent", "r1", ""): 20.0,
            ("cpu_percent", "r2", ""): 40.0,
            ("cpu_percent", "r3", ""): 90.0,
            ("gpu_percent", "r1", "gpu0"): 50.0,
            ("gpu_percent", "r1", "gpu1"): 50.0,
        }


def test_engines_are_the_average_of_running_replicas_or_each(ask):
    times = {"from_": END - 700, "to": END, "series": "engine"}
    for step in (10, 60, 3600):
        answer = ask(**times, step=step)
        assert {each["name"]: each["unit"] for each in answer["series"]} == {
            "engine_own_percent": "percent",
            "engine_waiting_requests": "requests",
        }
        for each in answer["series"]:
            assert {value for value in each["values"] if value is not None} == {4.0}  # r3 does not run
        details = ask(**times, step=step, metrics="engine_own_percent,cpu_percent", details="true")
        found = {
            (each["name"], each["replica"]): next(v for v in each["values"] if v is not None)
            for each in details["series"]
        }
        assert found == {
            ("engine_own_percent", replica): value for replica, value in (("r1", 2), ("r2", 6), ("r3", 90))
        }
    assert ask(**times, metrics="cpu_percent")["series"] == []


def test_the_list_of_endpoints(service, token, client, requests_made):
    answer = service.get("/v2/endpoint/acme", {"Authorization": f"Bearer {token}"})
    (card,) = json.loads(answer.body)["endpoints"]
    at = json.loads(answer.body)["at"]
    assert (card["endpoint"], card["running"], card["replicas"]) == ("llm", 2, 3)
    assert (card["min_replicas"], card["max_replicas"], card["pending"]) == (1, 4, 2)
    assert len(at) == 30
    for moment, shown in zip(at[:-3], card["spark"]["requests"], strict=False):
        found = [request for request in of(requests_made, moment, 60) if request.status >= 200]
        assert shown == len(found)
    final = [r for r in requests_made if r.at_s >= END - 280 and r.status >= 200]
    assert card["request_rate"] == pytest.approx(len(final) / 280, rel=0.3)
    errors = sum(request.status >= 500 for request in final) / len(final)
    assert card["error_share"] == pytest.approx(errors, abs=0.02)
    namespaces = service.get("/v2/namespaces", {"Authorization": f"Bearer {token}"})
    assert json.loads(namespaces.body) == {"namespaces": ["acme"]}


def test_a_late_row_is_in_every_level_after_the_next_look(ask, client):
    at = BEGIN + 1230
    before = [ask(from_=at, to=at + 10, step=step)["series"] for step in (10, 60, 3600)]
    late = make_requests([("late", "b9")], at, at + 10, 3, random.Random(3))
    insert(client, "request_windows", window_rows(late, [("late", "b9", at // 10 * 10)]))
    asyncio.run(roll_up(ClientExecutor(client)))
    count = sum(request.status // 100 == 2 for request in late)
    assert count
    for step, old in zip((10, 60, 3600), before, strict=True):
        new = ask(from_=at, to=at + 10, step=step)
        assert line(new, "2xx")[0] == line({"series": old}, "2xx")[0] + count
    client.command("ALTER TABLE request_windows DELETE WHERE replica_id = 'late' SETTINGS mutations_sync = 1")


def test_an_endpoint_that_nobody_knows_is_not_found(ask):
    error = ask(endpoint=f"e{uuid.uuid4().hex}", status=404)
    assert set(error) == {"type", "title", "status", "detail", "where", "hint"}
