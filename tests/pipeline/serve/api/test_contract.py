"""The contract over real HTTP: the OpenAPI document against real answers, errors, caching, compression."""

import gzip
import http.client
import json
import re
from datetime import UTC, datetime
from importlib.metadata import version

import jsonschema
import pytest
from tests.pipeline.serve.api.openapi_document import check_answer
from tests.pipeline.store.rows import boot, event, hardware, insert, setting, window
from tests.support.waiting import eventually

from endpoint_analytics.pipeline.serve.api.models import GROUPS, PARTS

ONE = "/v2/endpoint/acme/llm"
FULL = f"series?series={','.join(GROUPS)}&include={','.join(PARTS)}&from=now-1h"


@pytest.fixture(scope="module", autouse=True)
def _rows(client):
    now = datetime.now(UTC)
    covered = {"covered_to_us": 10_000_000, "arrived": 10, "finished": 9, "aborted_pending": 1}
    status = {"status_codes": [200, 500], "status_counts": [8, 1]}
    sums = {"latency_count": 9, "latency_sum_us": 900, "ttfb_count": 9, "ttfb_sum_us": 90}
    insert(
        client,
        "request_windows",
        [
            window(now, age_s=age, latency={300: 9}, ttfb={200: 9}, **covered, **status, **sums)
            for age in range(30, 600, 10)
        ],
    )
    insert(
        client,
        "hardware_windows",
        [hardware(now, "cpu_percent", 12.5, age_s=age) for age in range(30, 600, 10)],
    )
    insert(
        client,
        "engine_windows",
        [hardware(now, "engine_generated_tokens_per_second", 99.5, age_s=age) for age in range(30, 600, 10)],
    )
    insert(client, "boot_states", [boot(now, age_s=30, status={200: 5})])
    insert(client, "replica_events", [event(now, "pending", age_s=1200), event(now, "running", age_s=1000)])
    insert(client, "endpoint_settings", [setting(now, 1, 3, age_s=1500)])


@pytest.fixture
def get(service, token):
    def get(path, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return service.get(path, {"Authorization": f"Bearer {token}", **named})

    return get


@pytest.fixture(scope="module")
def document(service):
    answer = service.get("/openapi.json")
    assert answer.status == 200
    return json.loads(answer.body)


def check(document, path, status, answer):
    assert answer.status == status
    check_answer(document, path, answer)


@pytest.mark.parametrize(
    "query",
    [
        FULL,
        "series",
        "series?by=status&replica=r1",
        "series?series=hardware&details=true&metrics=cpu_percent",
        "series?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00%2B02:00&include=summary",
        "summary",
        "replicas?from=now-2h",
        "timeline",
        "events",
    ],
)
def test_real_answers_are_as_the_document_says(get, document, query):
    answer = get(f"{ONE}/{query}")
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    path = f"/v2/endpoint/{{namespace}}/{{name}}/{query.partition('?')[0]}"
    check(document, path, 200, answer)


def test_lists_and_the_document_itself(get, document):
    check(document, "/v2/namespaces", 200, get("/v2/namespaces"))
    check(document, "/v2/endpoint/{namespace}", 200, get("/v2/endpoint/acme"))
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == version("endpoint-analytics")
    for shape in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(shape)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("series?form=now", "query parameter form"),
        ("series?from=now&from=now-1h", "query parameter from"),
        ("series?from=yesterday", "query parameter from"),
        ("series?from=now-15", "query parameter from"),
        ("series?to=99999999999999", "query parameter to"),
        ("series?from=now&to=now-1h", "query parameter from"),
        ("series?from=now-500d", "query parameter from"),
        ("series?step=ten", "query parameter step"),
        ("series?step=0", "query parameter step"),
        ("series?step=10&from=now-1d", "query parameter step"),
        ("series?points=2001", "query parameter points"),
        ("series?series=request", "query parameter series"),
        ("series?series=requests,,latency", "query parameter series"),
        ("series?include=all", "query parameter include"),
        ("series?by=code", "query parameter by"),
        ("series?details=yes", "query parameter details"),
        ("series?metrics=cpu", "query parameter metrics"),
        ("series?metrics=cpu_percent,", "query parameter metrics"),
        ("series?replica=a%20b", "query parameter replica"),
        ("series?since=then", "query parameter since"),
        ("summary?series=requests", "query parameter series"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(get, document, query, where):
    answer = get(f"{ONE}/{query}")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    error = json.loads(answer.body)
    assert error["where"] == where
    assert error["detail"]
    assert error["hint"]
    check(document, f"/v2/endpoint/{{namespace}}/{{name}}/{query.partition('?')[0]}", 400, answer)


def test_what_is_not_there(get, service, operator_token):
    for path in (f"{ONE}x/series", f"{ONE}/nothing", "/v2/nothing", "/v2/endpoint/acme/a%20b/series"):
        answer = get(path)
        assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json"), path
        assert json.loads(answer.body)["hint"]
    answer = service.get(f"{ONE}/series", {"Authorization": f"Bearer {operator_token}"}, method="POST")
    assert (answer.status, "GET" in answer.headers["allow"]) == (405, True)


def test_errors_outside_the_handlers_have_the_form_of_their_path(get):
    long = {"X_Long": "x" * 17_000}
    forms = {
        f"{ONE}/series": "application/problem+json",
        "/session": "application/problem+json",
        "/apis/external.metrics.k8s.io/v1beta1": "application/json",
        f"{ONE}/open-metrics": "text/plain; charset=utf-8",
        "/health": "text/plain; charset=utf-8",
    }
    for path, form in forms.items():
        answer = get(path, **long)
        assert (answer.status, answer.headers["content-type"]) == (431, form), path
        assert b"16384" in answer.body
    missing = get("/apis/external.metrics.k8s.io/v1beta1/nothing")
    assert (missing.status, json.loads(missing.body)["kind"]) == (404, "Status")


def test_every_operation_is_named_described_and_has_an_example(document):
    operations = [each for path in document["paths"].values() for each in path.values()]
    identities = [each["operationId"] for each in operations]
    assert len(set(identities)) == len(identities)
    assert {tag for each in operations for tag in each["tags"]} == {tag["name"] for tag in document["tags"]}
    schemes = set(document["components"]["securitySchemes"])
    for each in operations:
        assert re.fullmatch(r"[a-z]+[A-Za-z]*", each["operationId"])
        assert each["summary"]
        assert each["description"]
        assert {"431", "500"} <= each["responses"].keys()
        assert {name for way in each["security"] for name in way} <= schemes


def test_the_document_has_every_path_of_the_service_but_the_page(document, service):
    """Any other path is a 404 whose body says so; a documented one allows GET."""
    for path in document["paths"]:
        answer = service.get(re.sub(r"\{\w+\}", "x", path), method="PATCH")
        assert (answer.status, "GET" in answer.headers["allow"]) == (405, True), path


def test_every_example_is_valid(document):
    def validate(schema, example):
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(example)

    for parameter in document["components"]["parameters"].values():
        for example in (parameter.get("example"), parameter["schema"].get("default")):
            if example is not None:
                validate(parameter["schema"], example)
    responses = [
        *document["components"]["responses"].values(),
        *(
            each
            for path in document["paths"].values()
            for one in path.values()
            for each in one["responses"].values()
        ),
    ]
    contents = [content for each in responses for content in each.get("content", {}).values()]
    shown = [content for content in contents if "example" in content]
    assert len(shown) > 40
    for content in shown:
        validate(content["schema"], content["example"])


def test_the_token_decides_who_sees_what(service, token, operator_token):
    for path in (f"{ONE}/series", "/v2/endpoint/acme", "/v2/namespaces"):
        assert service.get(path).status == 401
        assert service.get(path).headers["www-authenticate"].startswith("Bearer")
        assert service.get(path, {"Authorization": "Bearer nonsense"}).status == 401
        assert service.get(path, {"Authorization": f"Bearer {operator_token}"}).status == 200
        assert service.get(path, {"Authorization": f"Bearer {token}"}).status == 200
    for path in ("/v2/endpoint/other", "/v2/endpoint/other/llm/series"):
        answer = service.get(path, {"Authorization": f"Bearer {token}"})
        assert (answer.status, json.loads(answer.body)["where"]) == (403, "namespace other")
    others = service.get("/v2/endpoint/other", {"Authorization": f"Bearer {operator_token}"})
    assert json.loads(others.body)["endpoints"] == []


def test_prometheus_finds_the_endpoints(get, service, token, document):
    answer = get("/v2/endpoint/acme/http-sd")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    check(document, "/v2/endpoint/{namespace}/http-sd", 200, answer)
    (group,) = json.loads(answer.body)
    assert group == {
        "targets": [f"127.0.0.1:{service.port}"],
        "labels": {
            "__metrics_path__": "/v2/endpoint/acme/llm/open-metrics",
            "endpoint_namespace": "acme",
            "endpoint_name": "llm",
        },
    }
    path = group["labels"]["__metrics_path__"]
    assert service.get(path, {"Authorization": f"Bearer {token}"}).status == 200
    elsewhere = get("/v2/endpoint/acme/http-sd", Host="metrics.example.org:9443")
    assert json.loads(elsewhere.body)[0]["targets"] == ["metrics.example.org:9443"]
    for invalid in ("a/b", "::::", "h:", "h:port", "h:65536", "-h", "[h]", "[:::1]", "1::2", "a b", "u@h"):
        assert get("/v2/endpoint/acme/http-sd", Host=invalid).status == 400, invalid
    for valid in ("[::1]:8080", "[fe80::1]", "10.0.0.1", "query_service:80"):
        (of_llm, *_) = json.loads(get("/v2/endpoint/acme/http-sd", Host=valid).text)
        assert of_llm["targets"] == [valid]
    assert get("/v2/endpoint/other/http-sd").status == 403
    everywhere = get("/v2/http-sd")
    check(document, "/v2/http-sd", 200, everywhere)
    assert json.loads(everywhere.body) == [group]


@pytest.mark.parametrize(
    ("headers", "status", "encoding"),
    [
        ([("If-None-Match", '"other"'), ("If-None-Match", "{tag}")], 304, None),
        ([("Accept-Encoding", "identity"), ("Accept-Encoding", "gzip")], 200, "gzip"),
    ],
)
def test_a_list_may_come_in_several_header_fields(service, token, headers, status, encoding):
    path, bearer = "/openapi.json", ("Authorization", f"Bearer {token}")
    tag = service.get(path, dict([bearer])).headers["etag"]
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    for name, value in (bearer, *headers):
        connection.putheader(name, value.format(tag=tag))
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    connection.close()
    assert (response.status, response.headers["Content-Encoding"]) == (status, encoding)


@pytest.mark.parametrize("sent", ["{token}", "Basic {token}", "Bearer", ""])
def test_an_authorization_that_is_no_bearer_token_says_so(service, token, sent):
    """A token that is sent as something else is not unknown or revoked."""
    headers = {"Authorization": sent.format(token=token)}
    problem = json.loads(service.get(f"{ONE}/series", headers).text)
    scrape = service.get(f"{ONE}/open-metrics", headers)
    assert (problem["status"], scrape.status) == (401, 401)
    assert "not one 'Bearer <token>'" in problem["detail"]
    assert "not one 'Bearer <token>'" in scrape.text
    assert token not in problem["detail"] + scrape.text


def test_an_empty_range_shows_both_times_in_full(get):
    problem = json.loads(get(f"{ONE}/series?from=1790000000&to=1790000000").text)
    assert problem["status"] == 400
    assert problem["detail"].count("1790000000") == 2


def test_what_did_not_change_is_not_sent_again(get):
    now_s = int(datetime.now(UTC).timestamp())
    path = f"{ONE}/series?from={now_s - 3600}&to={now_s - 60}"
    first = get(path)
    tag = first.headers["etag"]
    assert tag.startswith('"')
    assert "no-cache" in first.headers["cache-control"]
    again = get(path, If_None_Match=f'"other", {tag}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert get(path, If_None_Match='"other"').status == 200
    zipped = get(path, Accept_Encoding="gzip")
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == first.body
    assert zipped.headers["etag"] != tag
    assert get(path, Accept_Encoding="gzip", If_None_Match=zipped.headers["etag"]).status == 304
    assert "Accept-Encoding" in first.headers["vary"]


def test_head_and_security_headers(service, token):
    answer = service.get(f"{ONE}/series", {"Authorization": f"Bearer {token}"}, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_table_without_an_answer_is_503_and_says_so(client, token, start_service, config):
    service = start_service(config, "--cache", "0", "--rollup-every", "0")
    client.command("RENAME TABLE request_windows TO hidden_windows")
    try:
        answer = service.get(f"{ONE}/series", {"Authorization": f"Bearer {token}"})
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert json.loads(answer.body)["where"] == "ClickHouse"
        assert "hidden" not in answer.text
    finally:
        client.command("RENAME TABLE hidden_windows TO request_windows")


def test_the_service_rolls_up_by_itself(client, config, start_service):
    service = start_service(config, "--rollup-every", "0.1")
    eventually(
        lambda: client.query("SELECT count() FROM request_minutes WHERE replica_id = ''").result_rows[0][0],
        lambda count: count >= 7,
        20,
        "minutes",
    )
    assert service.stop()[0] == 0
    assert "ERROR" not in service.log.read_text()
