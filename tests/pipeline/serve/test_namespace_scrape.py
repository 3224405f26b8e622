"""All endpoints of a namespace at one URL: each as at its own, with labels that name it."""

import asyncio
import gzip
import re
from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.store.rows import boot, event, hardware, insert, setting, window

from endpoint_analytics.pipeline.store.rollup import roll_up

NAMESPACES = {"acme": ("llm", "image", "silent"), "other": ("llm",)}
# They change from one scrape to the next: ages of samples and of what agents report.
CHANGING = {"data_timestamp_seconds", "oldest_pending_request_age_seconds"}


@pytest.fixture(scope="module", autouse=True)
def _rows(client):
    """Replicas of the same names in each endpoint, and an endpoint that has only settings."""
    now = datetime.now(UTC)
    boots, windows, samples, engines, events = [], [], [], [], []
    for namespace, endpoints in NAMESPACES.items():
        for number, endpoint in enumerate(endpoints):
            of = {"namespace": namespace, "endpoint": endpoint}
            if endpoint == "silent":
                insert(client, "endpoint_settings", [{**setting(now, 1, 3), **of}])
                continue
            for replica in ("r1", "r2"):
                found = boot(now, replica=replica, boot_id=f"{namespace}-{endpoint}-{replica}", age_s=-3600)
                boots.append({**found, **of, "status_codes": [200, 503], "status_counts": [10 + number, 1]})
                windows.append({**window(now, replica=replica, latency={1300 + number: 5}), **of})
                samples.append(
                    {**hardware(now, "cpu_percent", 10.5 + number, replica=replica, age_s=-3600), **of}
                )
                own = {**hardware(now, "engine_own_figure", 7 + number, replica=replica, age_s=-3600), **of}
                engines.append({name: value for name, value in own.items() if name != "device"})
                boots += [{**found, **of, "stream": stream} for stream in ("hardware", "engine")]
                events.append({**event(now, "running", replica=replica, age_s=50), **of})
    insert(client, "boot_states", boots)
    insert(client, "request_windows", windows)
    insert(client, "hardware_windows", samples)
    insert(client, "engine_windows", engines)
    insert(client, "replica_events", events)
    asyncio.run(roll_up(ClientExecutor(client)))


def values(text):
    return {
        (sample.name, frozenset(sample.labels.items())): str(sample.value)  # NaN is not equal to itself
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name not in CHANGING
    }


def names(found):
    return {(dict(labels)["endpoint_namespace"], dict(labels)["endpoint_name"]) for _, labels in found}


def get(service, token, path, **headers):
    return service.get(path, {"Authorization": f"Bearer {token}", **headers})


def test_each_endpoint_is_as_at_its_own_url(service, token, operator_token):
    expected = {}
    for namespace, endpoints in NAMESPACES.items():
        for endpoint in endpoints:
            labels = {("endpoint_namespace", namespace), ("endpoint_name", endpoint)}
            one = values(service.scrape(operator_token, endpoint, namespace).text)
            expected[namespace, endpoint] = {(name, of | labels): value for (name, of), value in one.items()}
    assert all(len(each) > 40 for (_, name), each in expected.items() if name != "silent")
    assert len(expected["acme", "silent"]) > 5
    of_acme = {
        of: value
        for (namespace, _), one in expected.items()
        if namespace == "acme"
        for of, value in one.items()
    }
    everything = {of: value for one in expected.values() for of, value in one.items()}
    assert values(get(service, token, "/v2/endpoint/acme/open-metrics").text) == of_acme
    assert values(get(service, operator_token, "/v2/endpoint/acme/open-metrics").text) == of_acme
    assert values(get(service, operator_token, "/v2/open-metrics").text) == everything
    assert values(get(service, token, "/v2/open-metrics").text) == of_acme


def test_a_family_is_there_once(service, operator_token):
    text = get(service, operator_token, "/v2/open-metrics").text
    types = re.findall("^# TYPE ([a-z_]+) ", text, re.MULTILINE)
    assert len(types) == len(set(types)) > 15


def test_the_token_decides(service, token):
    for path in ("/v2/open-metrics", "/v2/endpoint/acme/open-metrics"):
        assert service.get(path).status == 401
        assert get(service, "nonsense", path).status == 401
    assert get(service, token, "/v2/endpoint/other/open-metrics").status == 403


def test_a_namespace_without_endpoints_is_not_found(service, operator_token):
    answer = get(service, operator_token, "/v2/endpoint/nobody/open-metrics")
    assert (answer.status, "no endpoint in namespace 'nobody'" in answer.text) == (404, True)
    assert get(service, operator_token, "/v2/endpoint/%20/open-metrics").status == 404
    for path in ("/v2/endpoint/acme/open-metrics", "/v2/open-metrics"):
        answer = get(service, operator_token, f"{path}?endpoint_name[]=nothing&endpoint_name[]=nobody")
        assert (answer.status, "no endpoint named nobody, nothing" in answer.text) == (404, True)


@pytest.mark.parametrize("path", ["/v2/endpoint/acme/open-metrics", "/v2/open-metrics"])
def test_families_endpoints_and_replicas_can_be_chosen(service, operator_token, path):
    def found(query):
        return values(get(service, operator_token, f"{path}?{query}").text)

    everything = found("")
    chosen = found("name[]=http_requests_total&name[]=cpu_usage_percent")
    assert {name for name, _ in chosen} == {"http_requests_total", "cpu_usage_percent"}
    assert chosen.items() <= everything.items()
    chosen = found("endpoint_name%5B%5D=image&endpoint_name[]=nothing-here")
    assert names(chosen) == {("acme", "image")}
    assert chosen.items() <= everything.items()
    chosen = found("replica_id[]=r2")
    assert {dict(labels).get("replica_id", "r2") for _, labels in chosen} == {"r2"}
    assert chosen == {of: value for of, value in everything.items() if dict(of[1]).get("replica_id") != "r1"}
    chosen = found("replica_id[]=")
    assert chosen == {of: value for of, value in everything.items() if "replica_id" not in dict(of[1])}
    assert (
        "running_replicas",
        frozenset({("endpoint_namespace", "acme"), ("endpoint_name", "llm")}),
    ) in chosen
    assert found("name[]=nothing") == {}


@pytest.mark.parametrize("path", ["/v2/endpoint/acme/open-metrics", "/v2/endpoint/acme/llm/open-metrics"])
def test_each_family_is_alone_as_it_is_among_all(service, token, path):
    """Only what it needs is read for it."""
    everything = values(get(service, token, path).text)
    families = {
        each.name for each in text_string_to_metric_families(get(service, token, path).text)
    } - CHANGING
    assert {"latency_distribution", "latency_seconds", "engine_own_figure", "cpu_usage_percent"} <= families
    assert len(families) > 15
    for name in families:
        of_family = re.compile(f"{name}(_total|_bucket|_count|_sum)?")
        alone = values(get(service, token, f"{path}?name[]={name}").text)
        assert alone == {of: value for of, value in everything.items() if of_family.fullmatch(of[0])}, name


def test_one_endpoint_can_be_chosen_from_too(service, token):
    text = get(service, token, "/v2/endpoint/acme/llm/open-metrics?name[]=http_requests&replica_id[]=r1").text
    assert {dict(labels)["replica_id"] for _, labels in values(text)} == {"r1"}
    assert {name for name, _ in values(text)} == {"http_requests_total"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("name=http_requests", "unknown parameter 'name': expected name[], endpoint_name[] or replica_id[]"),
        ("name[]=a%20b", "'a b' is not the name of a metric"),
        ("endpoint_name[]=", "endpoint_name[]=''"),
        (
            "&".join(f"replica_id[]=r{number}" for number in range(201)),
            "more than 200 values of replica_id[]",
        ),
    ],
)
def test_a_wrong_parameter_is_named(service, token, query, said):
    answer = get(service, token, f"/v2/endpoint/acme/open-metrics?{query}")
    assert (answer.status, said in answer.text) == (400, True)


def test_an_endpoint_is_not_chosen_at_its_own_url(service, token):
    answer = get(service, token, "/v2/endpoint/acme/llm/open-metrics?endpoint_name[]=llm")
    assert (answer.status, "expected name[] or replica_id[]" in answer.text) == (400, True)


def test_formats_and_gzip_are_negotiated(service, token):
    path = "/v2/endpoint/acme/open-metrics"
    plain = get(service, token, path)
    packed = get(service, token, path, **{"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert values(gzip.decompress(packed.body).decode()) == values(plain.text)
    protobuf = get(service, token, path, Accept="application/vnd.google.protobuf")
    assert protobuf.headers["content-type"].startswith("application/vnd.google.protobuf")
    assert b"endpoint_namespace" in protobuf.body
