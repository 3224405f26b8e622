"""What autoscalers request over HTTP: the JSON and the Kubernetes external metrics API, their values and errors."""

import json
import re
from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.pipeline.serve.api.openapi_document import check_answer
from tests.pipeline.store.rows import boot, event, hardware, insert, setting, window

from endpoint_analytics.pipeline.serve.api.external_metrics import METRICS, parse_selector
from endpoint_analytics.pipeline.serve.api.external_models import quantity_text
from endpoint_analytics.pipeline.serve.api.query import QueryError

EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
PATHS = {
    "json": "/v2/endpoint/{namespace}/{name}/autoscaling",
    "list": EXTERNAL,
    "value": EXTERNAL + "/namespaces/{namespace}/{metric}",
}


@pytest.fixture(scope="module", autouse=True)
def _rows(client):
    """Five requests waiting at three replicas; a silent endpoint; an endpoint of which only settings are known."""
    now = datetime.now(UTC)
    alive = -3600  # what is said with a time to come counts as said just now, however long the tests take
    windows, boots = [], []
    for replica, pending in (("r1", 3), ("r2", 2), ("r3", 0)):
        boots.append(boot(now, replica=replica, age_s=alive))
        windows += [
            window(
                now,
                replica=replica,
                age_s=age,
                covered_to_us=10_000_000,
                pending_request_us=pending * 10_000_000,
            )
            for age in (alive, alive + 10, alive + 20)
        ]
    boots += [
        boot(now, replica=replica, boot_id="h", stream="hardware", age_s=alive) for replica in ("r1", "r2")
    ]
    boots += [boot(now, endpoint="silent", age_s=30), boot(now, endpoint="old", age_s=86_400 * 3)]
    insert(client, "boot_states", boots)
    insert(client, "request_windows", windows)
    insert(
        client,
        "hardware_windows",
        [
            hardware(now, "cpu_percent", value, replica=replica, boot_id="h", age_s=alive)
            for replica, value in (("r1", 20.0), ("r2", 41.0))
        ],
    )
    insert(client, "replica_events", [event(now, "running", replica="r1", age_s=60)])
    insert(client, "endpoint_settings", [setting(now, 1, 3, endpoint="idle")])


@pytest.fixture
def get(service, token):
    def get(path):
        return service.get(path, {"Authorization": f"Bearer {token}"})

    return get


@pytest.fixture(scope="module")
def document(service):
    return json.loads(service.get("/openapi.json").body)


def check(document, path, answer):
    check_answer(document, PATHS[path], answer)


def test_json(get, document):
    answer = get("/v2/endpoint/acme/llm/autoscaling")
    assert answer.status == 200, answer.text
    check(document, "json", answer)
    found = json.loads(answer.body)
    assert found["pending_requests"] == 5
    assert found["pending_per_replica"] == pytest.approx(5 / 3)
    assert (found["running_replicas"], found["window_seconds"]) == (3, 20)
    assert (found["cpu_percent"], found["gpu_percent"]) == (30.5, None)
    assert [(each["replica"], each["pending_requests"]) for each in found["replicas"]] == [
        ("r1", 3.0),
        ("r2", 2.0),
        ("r3", 0.0),
    ]
    assert answer.headers["cache-control"] == "no-store"


def scraped(service, token, endpoint):
    text = service.scrape(token, endpoint).text
    families = text_string_to_metric_families(text)
    return {each.name: each for each in families if each.name.startswith("autoscaling_")}


def test_open_metrics_says_the_same(get, service, token):
    found = json.loads(get("/v2/endpoint/acme/llm/autoscaling").body)
    families = scraped(service, token, "llm")
    assert {name: family.samples[0].value for name, family in families.items()} == {
        f"autoscaling_{name}": found[name] for name in METRICS if found[name] is not None
    }
    assert families["autoscaling_cpu_percent"].unit == "percent"
    assert families["autoscaling_pending_per_replica"].samples[0].labels == {}


def test_open_metrics_leaves_out_what_is_not_known(service, token):
    assert scraped(service, token, "silent") == {}
    assert scraped(service, token, "idle") == {}


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/v2/endpoint/acme/silent/autoscaling", 503, "last heard"),
        ("/v2/endpoint/acme/old/autoscaling", 503, "in days"),
        ("/v2/endpoint/acme/idle/autoscaling", 503, "in days"),
        ("/v2/endpoint/acme/nobody/autoscaling", 404, "no endpoint 'nobody'"),
        ("/v2/endpoint/acme/a%20b/autoscaling", 404, "letters"),
        ("/v2/endpoint/acme/llm/autoscaling?window=5", 400, "no parameter 'window'"),
        ("/v2/endpoint/other/llm/autoscaling", 403, "another namespace"),
    ],
)
def test_json_errors(get, document, path, status, word):
    answer = get(path)
    assert (answer.status, word in json.loads(answer.body)["detail"]) == (status, True), answer.text
    check(document, "json", answer)
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_token_is_asked_for(service):
    for path in ("/v2/endpoint/acme/llm/autoscaling", f"{EXTERNAL}/namespaces/acme/cpu_percent"):
        answer = service.get(path)
        assert (answer.status, answer.headers["www-authenticate"][:6]) == (401, "Bearer"), path


def test_discovery_asks_for_no_token(service, document):
    answer = service.get(EXTERNAL)
    assert answer.status == 200
    check(document, "list", answer)
    found = json.loads(answer.body)
    assert (found["kind"], found["apiVersion"], found["groupVersion"]) == (
        "APIResourceList",
        "v1",
        "external.metrics.k8s.io/v1beta1",
    )
    assert [each["name"] for each in found["resources"]] == list(METRICS)
    assert found["resources"][0] == {
        "name": "pending_requests",
        "singularName": "",
        "namespaced": True,
        "kind": "ExternalMetricValueList",
        "verbs": ["get"],
    }


@pytest.mark.parametrize(
    ("metric", "value", "window"),
    [("pending_requests", "5", 20), ("pending_per_replica", "1667m", 20), ("cpu_percent", "30500m", 60)],
)
@pytest.mark.parametrize(
    ("namespace", "selector"),
    [
        ("acme", "endpoint%3Dllm"),
        ("kube-ns", "namespace%3Dacme%2Cendpoint%3D%3Dllm"),
        ("acme", "endpoint=llm&limit=5"),
    ],
)
def test_external_metric(get, document, metric, value, window, namespace, selector):
    answer = get(f"{EXTERNAL}/namespaces/{namespace}/{metric}?labelSelector={selector}")
    assert answer.status == 200, answer.text
    check(document, "value", answer)
    found = json.loads(answer.body)
    assert (found["kind"], found["apiVersion"], found["metadata"]) == (
        "ExternalMetricValueList",
        "external.metrics.k8s.io/v1beta1",
        {},
    )
    (item,) = found["items"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", item.pop("timestamp"))
    assert item == {
        "metricName": metric,
        "metricLabels": {"endpoint": "llm", "namespace": "acme"},
        "window": window,
        "value": value,
    }


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("acme/pending_per_replica?labelSelector=endpoint%3Dsilent", 503, "ServiceUnavailable"),
        ("acme/gpu_percent?labelSelector=endpoint%3Dllm", 503, "ServiceUnavailable"),
        ("acme/pending_per_replica?labelSelector=endpoint%3Dnobody", 404, "NotFound"),
        ("acme/pending?labelSelector=endpoint%3Dllm", 404, "NotFound"),
        ("acme/cpu_percent", 400, "BadRequest"),
        ("acme/cpu_percent?labelSelector=", 400, "BadRequest"),
        ("acme/cpu_percent?labelSelector=app%3Dllm", 400, "BadRequest"),
        ("other/cpu_percent?labelSelector=endpoint%3Dllm", 403, "Forbidden"),
        ("acme/cpu_percent?labelSelector=endpoint%3Dllm%2Cnamespace%3Dother", 403, "Forbidden"),
    ],
)
def test_external_errors(get, document, path, code, reason):
    answer = get(f"{EXTERNAL}/namespaces/{path}")
    found = json.loads(answer.body)
    assert (answer.status, found["code"], found["reason"]) == (code, code, reason), answer.text
    assert (found["kind"], found["apiVersion"], found["status"]) == ("Status", "v1", "Failure")
    assert found["message"]
    assert "retry-after" not in answer.headers  # client-go would wait, with one of all autoscalers' workers
    check(document, "value", answer)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0004, "0"),
        (0.0005, "1m"),
        (1, "1"),
        (1.25, "1250m"),
        (5 / 3, "1667m"),
        (99.9996, "100"),
        (1e6, "1000000"),
    ],
)
def test_quantities(value, text):
    assert quantity_text(value) == text


@pytest.mark.parametrize(
    "selector",
    [
        "endpoint",
        "endpoint!=llm",
        "endpoint in (a,b)",
        "!endpoint",
        "endpoint=a,endpoint=b",
        "endpoint=",
        "namespace=acme",
        "endpoint=a,",
    ],
)
def test_other_selectors_are_refused(selector):
    with pytest.raises(QueryError) as raised:
        parse_selector([("labelSelector", selector)])
    assert raised.value.status == 400


def test_selectors():
    assert parse_selector([("labelSelector", "endpoint==a, namespace = b")]) == {
        "endpoint": "a",
        "namespace": "b",
    }
