"""The page, the JSON API, SQL and OpenMetrics report the same numbers for the same requests."""

import json
import re
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from tests.page.seen import number, seconds
from tests.page.truth import Truth, by_class
from tests.pipeline.store import rows

ENDPOINT = "agree"
ENGINE = {
    "engine_running_requests": 12.0,
    "engine_waiting_requests": 3.0,
    "engine_kv_cache_percent": 87.5,
    "engine_generated_tokens_per_second": 1843.0,
    "engine_lora_slots": 4.0,
}


@pytest.fixture
def expected(client, story):
    """Two minutes of one replica's requests until now, and its totals as the agent sent them."""
    now = datetime.now(UTC)
    last = int(now.timestamp()) // 10 * 10 - 10
    made = [
        story.window("a-0", last - 10 * back, 1) | {"endpoint": ENDPOINT, "boot_id": "a1"}
        for back in range(12)
    ]
    totals: Counter[int] = Counter()
    for row in made:
        totals.update(dict(zip(row["status_codes"], row["status_counts"], strict=True)))
    finished, aborted = (sum(row[name] for row in made) for name in ("finished", "aborted_pending"))
    heard = rows.boot(
        now, replica="a-0", boot_id="a1", endpoint=ENDPOINT, age_s=-20, status=dict(totals), pending=5,
        finished=finished, aborted_pending=aborted,
        aborted_streaming=sum(row["aborted_streaming"] for row in made),
    )  # fmt: skip
    rows.insert(client, "request_windows", made)
    rows.insert(client, "boot_states", [heard, rows.boot(now, replica="a-0", boot_id="a2", stream="engine",
                endpoint=ENDPOINT, age_s=-20)])  # fmt: skip
    rows.insert(
        client,
        "engine_windows",
        [
            rows.hardware(now, metric, value, replica="a-0", boot_id="a2", endpoint=ENDPOINT, age_s=age)
            for age in range(-41, 120, 10)  # the page's newest point is the time of its query
            for metric, value in ENGINE.items()
        ],
    )
    return totals


def test_page_api_sql_and_open_metrics_agree(visit, client, service, token, expected):
    seen = visit(f"?endpoint=acme/{ENDPOINT}&range=5m")
    headers = {"Authorization": f"Bearer {token}"}
    answer = service.get(
        f"/v2/endpoint/acme/{ENDPOINT}/summary?from=now-5m", headers | {"Accept": "application/json"}
    )
    summary = json.loads(answer.body)["summary"]
    exposition = service.scrape(token, ENDPOINT).text
    now = int(time.time())
    statuses, aborted, _ = Truth(client).statuses(now - 300, now, endpoint=ENDPOINT)

    scraped = {
        int(status): int(float(value))
        for status, value in re.findall(
            r'^http_requests_total\{.*status_code="(\d+)".*\} (\S+)$', exposition, re.MULTILINE
        )
        if float(value)
    }
    assert scraped == expected == statuses == {int(code): n for code, n in summary["statuses"].items()}
    boxes = {name: number(seen.box(name)[1]) for name in ("2xx", "3xx", "4xx", "5xx")}
    assert boxes == {name: by_class(statuses)[name] for name in boxes}
    assert boxes == {each["name"]: each["count"] for each in summary["classes"]}
    assert number(seen.box("Aborted")[1]) == aborted == summary["aborted"]["count"]

    (median,) = re.findall(r'^latency_distribution\{quantile="0.5"\} (\S+)$', exposition, re.MULTILINE)
    assert float(median) == pytest.approx(summary["latency"]["p50"], rel=1e-6)
    assert seconds(seen.box("Median")[0]) == pytest.approx(float(median), rel=0.01)
    (pending,) = re.findall(r"^pending_requests\{.*\} (\S+)$", exposition, re.MULTILINE)
    assert float(pending) == 5
    card = visit().page.locator(f'[data-endpoint="acme/{ENDPOINT}"]')
    assert card.locator('[data-figure="Pending"] .figure-value').inner_text() == "5"


def test_the_engines_figures_agree_everywhere(visit, client, service, token, expected):
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    answer = service.get(f"/v2/endpoint/acme/{ENDPOINT}/series?series=engine&from=now-5m&step=10", headers)
    by_api = {
        each["name"]: {value for value in each["values"] if value is not None}
        for each in json.loads(answer.body)["series"]
    }
    assert by_api == {metric: {value} for metric, value in ENGINE.items()}
    by_sql = client.query(
        "SELECT metric, min(mean), max(mean) FROM engine_10s WHERE endpoint = {name:String} GROUP BY metric",
        {"name": ENDPOINT},
    ).result_rows
    assert {metric: {least, most} for metric, least, most in by_sql} == by_api
    exposition = service.scrape(token, ENDPOINT).text
    scraped = re.findall(r'^(engine_\w+)\{replica_id="a-0"\} (\S+)$', exposition, re.MULTILINE)
    assert {metric: {float(value)} for metric, value in scraped} == by_api
    seen = visit(f"?endpoint=acme/{ENDPOINT}&section=engine&range=5m")
    shown = {
        **seen.legend("engine_requests"),
        **seen.legend("engine_kv_cache"),
        **seen.legend("engine_tokens"),
        **seen.legend("engine_lora_slots"),
    }
    assert shown == {
        "engine_running_requests": "12",
        "engine_waiting_requests": "3",
        "engine_kv_cache_percent": "87.5 %",
        "engine_generated_tokens_per_second": "1.84 k/s",
        "engine_lora_slots": "4",
    }


def test_a_separate_scraping_agent_is_not_a_second_replica(visit, service, token, expected):
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    body = json.loads(service.get(f"/v2/endpoint/acme/{ENDPOINT}/replicas?from=now-5m", headers).body)
    assert [(each["replica"], each["state"]) for each in body["replicas"]] == [("a-0", "running")]
    assert re.findall(r"^running_replicas (\d+)$", service.scrape(token, ENDPOINT).text, re.MULTILINE) == [
        "1"
    ]
