"""The real service over HTTP, on a real ClickHouse."""

import gzip
import http.client
import re
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as classic_families
from tests.pipeline.store.rows import boot, event, hardware, insert, setting, window

from endpoint_analytics.pipeline.core.sketch import value_of
from endpoint_analytics.pipeline.exposition import openmetrics, prometheus_text
from endpoint_analytics.pipeline.store.tokens import create_token, parse_token, revoke_token


@pytest.fixture(scope="module", autouse=True)
def _rows(client):
    """One endpoint with two replicas, one of them dead, and one long gone."""
    now = datetime.now(UTC)
    insert(
        client,
        "boot_states",
        [
            boot(now, age_s=-3600, status={200: 5}, version=1),
            boot(
                now, age_s=-3600, status={200: 9, 500: 1}, version=2, pending=2, finished=10, latency_sum_us=5
            ),
            boot(now, replica="r2", boot_id="b2", age_s=30, status={200: 1}, pending=7, finished=1),
            boot(now, replica="r3", boot_id="b3", age_s=3600, status={200: 1}, finished=1),
            boot(now, stream="hardware", age_s=-3600),
        ],
    )
    insert(client, "request_windows", [window(now, latency={700: 10})])
    insert(client, "hardware_windows", [hardware(now, "cpu_percent", 12.5, age_s=-3600)])
    insert(
        client,
        "replica_events",
        [event(now, "running", age_s=50), event(now, "running", replica="r2", age_s=50)],
    )
    insert(client, "endpoint_settings", [setting(now, 1, 3)])
    insert(
        client, "boot_states", [boot(now, endpoint=f"e{number}", replica=f"r{number}") for number in range(5)]
    )


def values(text):
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_shows_the_endpoint(service, token):
    answer = service.scrape(token)
    assert (answer.status, answer.headers["content-type"]) == (200, openmetrics.CONTENT_TYPE)
    found = values(answer.text)
    assert found["http_requests_total", (("replica_id", "r1"), ("status_code", "200"))] == 9
    assert found["http_requests_total", (("replica_id", "r1"), ("status_code", "500"))] == 1
    assert found["pending_requests", (("replica_id", "r1"),)] == 2
    assert found["pending_requests", (("replica_id", "r2"),)] == 0
    assert found["latency_distribution", (("quantile", "0.99"),)] == pytest.approx(value_of(700) / 1e6)
    assert found["latency_distribution_count", ()] == 12
    assert found["cpu_usage_percent", (("replica_id", "r1"),)] == 12.5
    assert found["replica_state", (("replica_id", "r1"), ("replica_state", "running"))] == 1
    assert found["replica_state", (("replica_id", "r2"), ("replica_state", "failed"))] == 1
    assert found["running_replicas", ()] == 1
    assert found["max_replicas", ()] == 3
    assert not [labels for _, labels in found if ("replica_id", "r3") in labels]


def test_the_accept_header_chooses_the_format(service, token):
    answer = service.scrape(token, Accept="text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
    assert (answer.status, answer.headers["content-type"]) == (200, prometheus_text.CONTENT_TYPE)
    types = {family.name: family.type for family in classic_families(answer.text)}
    assert types["http_requests"] == "counter"
    assert (
        service.scrape(token, Accept="application/json").headers["content-type"] == openmetrics.CONTENT_TYPE
    )


def test_the_token_decides_who_sees_what(service, token, operator_token):
    path = "/v2/endpoint/acme/llm/open-metrics"
    answer = service.get(path)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="endpoint-analytics"')
    for wrong in (
        "Bearer",
        "Bearer nonsense",
        f"Basic {token}",
        f"Bearer {token[:-1]}_",
        f"Bearer eat_{'0' * 16}_{'a' * 43}",
    ):
        answer = service.get(path, {"Authorization": wrong})
        assert (answer.status, 'error="invalid_token"' in answer.headers["www-authenticate"]) == (401, True)
    assert service.get(f"{path}?token={token}").status == 401
    assert service.get(f"{path}?access_token={token}", {"Cookie": f"token={token}"}).status == 401
    assert service.scrape(token, namespace="other").status == 403
    assert service.scrape(token, endpoint="nothing-here", namespace="other").status == 403
    assert service.scrape(operator_token).status == 200
    assert service.scrape(operator_token, namespace="other").status == 404


@pytest.mark.parametrize("endpoint", ["nothing-here", "%20", "a%27b", "%C3%A9", "x" * 129, "-"])
def test_an_unknown_endpoint_is_not_found(service, token, endpoint):
    answer = service.scrape(token, endpoint=endpoint)
    assert answer.status == 404
    assert "no " in answer.text


def test_get_and_head_and_nothing_else(service, token):
    path, headers = "/v2/endpoint/acme/llm/open-metrics", {"Authorization": f"Bearer {token}"}
    head = service.get(path, headers, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) > 500
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = service.get(path, headers, method)
        assert (answer.status, sorted(answer.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])
    assert service.get("/nowhere").status == 404
    assert service.get(path + "/", headers).status == 404


def test_gzip_when_asked(service, token):
    answer = service.scrape(token, Accept_Encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert values(gzip.decompress(answer.body).decode())["max_replicas", ()] == 3
    assert "content-encoding" not in service.scrape(token).headers
    assert "content-encoding" not in service.scrape(token, Accept_Encoding="gzip;q=0").headers


def test_headers_of_every_answer(service, token):
    for answer in (
        service.scrape(token),
        service.scrape("nonsense"),
        service.get("/health"),
        service.get("/metrics"),
        service.get("/nowhere"),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in answer.headers
    assert service.scrape(token).headers["vary"] == "Accept, Accept-Encoding, Authorization"


def own(service, name):
    text = service.get("/metrics").text
    return {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith(name)
    }


def test_many_scrapes_at_once_cost_the_queries_of_one(config, start_service, token):
    service = start_service(config, "--cache", "30")
    service.scrape(token, endpoint="e0")  # connects, reads the tokens
    before = own(service, "query_service_clickhouse_queries_total")
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: service.scrape(token, endpoint="e1"), range(64)))
    after = own(service, "query_service_clickhouse_queries_total")
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    (asked,) = (after[name] - before[name] for name in after)
    # Twelve for the endpoint; the tokens are read once a second, and what /metrics says of the data with it.
    assert 11 <= asked <= 11 + 5
    lookups = own(service, "query_service_cache_lookups_total")
    assert sum(lookups.values()) == 65
    assert lookups['query_service_cache_lookups_total{outcome="miss"}'] == 2


def test_the_cache_is_bounded(config, start_service, token):
    service = start_service(config, "--cache", "30", "--cache-entries", "3")
    for number in range(5):
        assert service.scrape(token, endpoint=f"e{number}").status == 200
        assert service.scrape(token, endpoint=f"missing{number}").status == 404
    assert own(service, "query_service_cache_entries") == {"query_service_cache_entries": 3}


def test_a_revoked_token_is_refused_within_five_seconds(service, client):
    text = create_token(client, "acme", "", datetime.now(UTC))
    assert service.scrape(text).status == 200
    revoke_token(client, parse_token(text)[0])
    revoked_s = time.monotonic()
    while service.scrape(text).status == 200:
        assert time.monotonic() - revoked_s < 5
    assert service.scrape(text).status == 401


def test_own_metrics_are_for_this_machine_and_operators(service, token, operator_token):
    answer = service.get("/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, openmetrics.CONTENT_TYPE)
    assert list(text_string_to_metric_families(answer.text))
    assert 'route="open_metrics",status_code="200"' in answer.text
    assert (
        service.get("/metrics", {"Accept": "text/plain"}).headers["content-type"]
        == prometheus_text.CONTENT_TYPE
    )
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    assert service.get("/metrics", forwarded).status == 401
    assert service.get("/metrics", {**forwarded, "Authorization": f"Bearer {token}"}).status == 403
    assert service.get("/metrics", {**forwarded, "Authorization": f"Bearer {operator_token}"}).status == 200


def test_own_metrics_have_no_label_that_grows(service, token):
    for _ in range(3):
        service.get(f"/{uuid.uuid4()}")
        service.scrape(token, endpoint=f"e-{uuid.uuid4().hex}")
    text = service.get("/metrics").text
    assert set(re.findall(r'route="([^"]*)"', text)) <= {
        "open_metrics",
        "health",
        "ready",
        "metrics",
        "api",
        "page",
        "other",
    }
    assert set(re.findall(r'(\w+)="', text)) == {
        "route",
        "status_code",
        "le",
        "outcome",
        "stream",
        "waited_for",
    }


def test_ready_and_healthy(service):
    assert (service.get("/ready").status, service.get("/health").status) == (200, 200)


@pytest.mark.parametrize("size", [20_000, 100_000, 1_000_000])
def test_a_huge_head_is_refused(service, size):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    try:
        connection.request("GET", "/health", headers={"X-Filler": "a" * size})
        assert connection.getresponse().status in (400, 431)
    except (ConnectionResetError, BrokenPipeError):
        pass  # refused before all of it was read
    finally:
        connection.close()
    assert service.get("/health").status == 200


def test_what_is_not_http_is_refused(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")
    assert service.get("/health").status == 200


def test_no_token_and_no_query_string_in_the_log(service, token):
    service.get(f"/v2/endpoint/acme/llm/open-metrics?secret=hush-{token}")
    service.scrape(token)
    log = service.log.read_text()
    assert parse_token(token)[1] not in log
    assert "hush" not in log
