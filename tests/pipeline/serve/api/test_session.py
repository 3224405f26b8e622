"""Signing in to the page: the cookie over real HTTP, and what other sites must not be able to do with it."""

import asyncio
import http.client
import json
import socket
from datetime import UTC, datetime

import pytest
from starlette.requests import Request
from tests.pipeline.store.rows import boot, insert
from tests.support.waiting import eventually

from endpoint_analytics.pipeline.serve.access.page_session import LIFETIME_S, PageSessions
from endpoint_analytics.pipeline.serve.access.rate_limit import RateLimit
from endpoint_analytics.pipeline.serve.api.authorization import ApiAccess
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.tokens import AccessToken, create_token, parse_token, revoke_token


@pytest.fixture(scope="module", autouse=True)
def _rows(client):
    insert(client, "boot_states", [boot(datetime.now(UTC))])


def send(service, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named.setdefault("Content-Type", "application/json")
    connection.request(method, path, None if body is None else json.dumps(body), named)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, json.loads(text) if text else None


def signed_in(service, token, **headers):
    response, said = send(service, "POST", "/session", {"token": token}, **headers)
    assert response.status == 200, said
    return response.headers["Set-Cookie"], said


def cookie_of(header):
    return header.partition(";")[0]


def test_a_token_becomes_a_cookie_that_opens_the_same(service, token):
    header, said = signed_in(service, token)
    assert said["namespaces"] == ["acme"]
    assert not said["all"]
    assert "HttpOnly" in header
    assert "SameSite=Strict" in header
    assert "Secure" not in header
    assert parse_token(token)[1] not in header
    cookie = cookie_of(header)
    assert send(service, "GET", "/session", Cookie=cookie)[1] == said
    assert send(service, "GET", "/v2/endpoint/acme/llm/series", Cookie=cookie)[0].status == 200
    assert send(service, "GET", "/v2/endpoint/other", Cookie=cookie)[0].status == 403
    assert service.get("/v2/endpoint/acme/llm/open-metrics", {"Cookie": cookie}).status == 401
    assert send(service, "GET", "/session")[0].status == 401


def test_behind_https_the_cookie_is_secure_and_of_this_host(service, token):
    https = {"X_Forwarded_Proto": "https"}
    header, said = signed_in(service, token, **https)
    assert header.startswith("__Host-endpoint_analytics_session=")
    assert {"Secure", "Path=/", "HttpOnly", "SameSite=Strict"} <= set(header.split("; "))
    assert "domain" not in header.lower()  # what the prefix asks for, or browsers refuse it
    cookie = cookie_of(header)
    assert send(service, "GET", "/session", Cookie=cookie, **https)[1] == said
    planted = cookie.removeprefix("__Host-")  # as another host of the domain could set it
    assert send(service, "GET", "/session", Cookie=planted, **https)[0].status == 401
    assert (
        send(service, "DELETE", "/session", Cookie=cookie, **https)[0]
        .headers["Set-Cookie"]
        .startswith("__Host-endpoint_analytics_session=")
    )
    assert send(service, "GET", "/session", Cookie=cookie, **https)[0].status == 401


def test_signing_in_again_ends_the_session_before(service, token, operator_token):
    before = cookie_of(signed_in(service, token)[0])
    header, _ = signed_in(service, operator_token, Cookie=before)
    assert send(service, "GET", "/session", Cookie=before)[0].status == 401
    assert send(service, "GET", "/session", Cookie=cookie_of(header))[0].status == 200
    response, _ = send(service, "POST", "/session", {"token": "wrong"}, Cookie=cookie_of(header))
    assert response.status == 401
    assert send(service, "GET", "/session", Cookie=cookie_of(header))[0].status == 200


def until_too_often(service, body):
    """Attempts that become available meanwhile are soon used up."""
    return next(
        answer
        for answer, _ in (send(service, "POST", "/session", body) for _ in range(200))
        if answer.status == 429
    )


def test_sign_ins_that_fail_are_bounded_and_one_that_is_right_is_not_kept_out(config, token, start_service):
    service = start_service(config)
    wrong = {"token": f"eat_{'0' * 16}_{'a' * 43}"}
    answers = [send(service, "POST", "/session", wrong)[0] for _ in range(20)]
    assert {answer.status for answer in answers} == {401}
    refused = until_too_often(service, wrong)
    assert int(refused.headers["Retry-After"]) > 0
    signed_in(service, token)


class Held:
    """Tokens whose check completes only once all requests have started."""

    def __init__(self):
        self.answer = asyncio.Event()
        self.asked = 0

    async def check(self, text, *, again=True):
        self.asked += again
        if again:
            await self.answer.wait()
        if text == "broken":
            raise StoreError("down")
        return (
            AccessToken("0" * 16, "a" * 64, "acme", "", datetime.now(UTC), False) if text == "right" else None
        )


def test_of_sign_ins_at_the_same_time_no_more_may_fail_and_only_those_that_do_are_counted():
    async def at_once(access, tokens, text, count):
        request = Request({"type": "http", "client": ("192.0.2.1", 5), "headers": []})
        asking = [asyncio.ensure_future(access.signs_in(request, text)) for _ in range(count)]
        await asyncio.sleep(0)
        tokens.answer.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        tokens.answer.clear()
        return [getattr(each, "status", type(each).__name__) for each in found]

    async def main():
        tokens = Held()
        access = ApiAccess(tokens, None, RateLimit(20, 5.0, lambda: 0.0), RateLimit(100, 5.0, lambda: 0.0))
        assert await at_once(access, tokens, "right", 50) == ["AccessToken"] * 50
        assert await at_once(access, tokens, "broken", 15) == ["StoreError"] * 15
        tokens.asked = 0
        assert await at_once(access, tokens, "wrong", 60) == [401] * 20 + [429] * 40
        assert tokens.asked == 20
        assert await at_once(access, tokens, "right", 3) == ["AccessToken"] * 3
        assert await at_once(access, tokens, "wrong", 1) == [429]

    asyncio.run(main())


def test_sessions_of_one_token_are_bounded_and_those_of_others_are_not(
    config, client, operator_token, start_service
):
    service = start_service(config)
    token = create_token(client, "acme", "often", datetime.now(UTC))
    answers = [send(service, "POST", "/session", {"token": token})[0].status for _ in range(100)]
    assert set(answers) == {200}
    until_too_often(service, {"token": token})
    signed_in(service, operator_token)


def test_an_operators_session_is_good_for_all(service, operator_token):
    assert signed_in(service, operator_token)[1]["all"]


def test_signing_out_takes_the_cookie_back(service):
    response, _ = send(service, "DELETE", "/session")
    assert response.status == 204
    assert "Max-Age=0" in response.headers["Set-Cookie"]


def test_a_cookie_that_was_captured_is_worthless_after_signing_out(service, token):
    cookie, other = (cookie_of(signed_in(service, token)[0]) for _ in range(2))
    assert send(service, "DELETE", "/session", Cookie=cookie)[0].status == 204
    assert send(service, "GET", "/session", Cookie=cookie)[0].status == 401
    assert send(service, "GET", "/v2/endpoint/acme/llm/series", Cookie=cookie)[0].status == 401
    assert send(service, "DELETE", "/session", Cookie=cookie)[0].status == 204
    assert send(service, "GET", "/session", Cookie=other)[0].status == 200


def test_a_session_is_one_in_every_service_also_when_it_is_over(config, token, start_service):
    one, other = start_service(config), start_service(config)
    cookie = cookie_of(signed_in(one, token)[0])
    assert send(other, "GET", "/session", Cookie=cookie)[0].status == 200
    assert send(other, "DELETE", "/session", Cookie=cookie)[0].status == 204
    assert send(other, "GET", "/session", Cookie=cookie)[0].status == 401
    eventually(
        lambda: send(one, "GET", "/session", Cookie=cookie)[0].status,
        lambda status: status == 401,
        5,
        "401 in the service that did not sign out",
    )


def test_a_session_goes_on_after_a_restart(config, token, start_service):
    before = start_service(config)
    cookie = cookie_of(signed_in(before, token)[0])
    before.stop()
    assert send(start_service(config), "GET", "/session", Cookie=cookie)[0].status == 200


def test_who_reads_the_table_can_make_no_cookie(service, token, client):
    name, _, value = cookie_of(signed_in(service, token)[0]).partition("=")
    session_id, secret = value.split(".")
    [(stored,)] = client.query(
        "SELECT secret_sha256 FROM page_sessions FINAL WHERE session_id = {id:String}",
        parameters={"id": session_id},
    ).result_rows
    stored = stored.decode() if isinstance(stored, bytes) else stored
    assert secret not in stored
    for guess in (stored[:43], stored):
        assert send(service, "GET", "/session", Cookie=f"{name}={session_id}.{guess}")[0].status == 401


def test_revoking_the_token_ends_its_sessions(service, client):
    token = create_token(client, "acme", "short", datetime.now(UTC))
    cookie = cookie_of(signed_in(service, token)[0])
    revoke_token(client, parse_token(token)[0])
    eventually(
        lambda: send(service, "GET", "/session", Cookie=cookie)[0].status,
        lambda status: status == 401,
        5,
        "401",
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site", "Origin": "http://127.0.0.1"},
    ],
)
def test_other_sites_are_refused(service, token, headers):
    cookie = cookie_of(signed_in(service, token)[0])
    for method, path, body in (
        ("POST", "/session", {"token": token}),
        ("DELETE", "/session", None),
        ("GET", "/session", None),
        ("GET", "/v2/endpoint/acme/llm/series", None),
    ):
        response, said = send(service, method, path, body, Cookie=cookie, **headers)
        assert (response.status, said["where"]) == (403, "headers Origin and Sec-Fetch-Site"), path
        assert "Set-Cookie" not in response.headers
    bearer = send(service, "GET", "/v2/endpoint/acme/llm/series", Authorization=f"Bearer {token}", **headers)
    assert bearer[0].status == 200


def test_our_own_page_and_typed_addresses_are_not(service, token):
    own = f"http://127.0.0.1:{service.port}"
    header, _ = signed_in(service, token, Sec_Fetch_Site="same-origin", Origin=own)
    cookie = cookie_of(header)
    assert send(service, "GET", "/v2/namespaces", Cookie=cookie, Sec_Fetch_Site="none")[0].status == 200
    assert send(service, "GET", "/v2/namespaces", Cookie=cookie, Origin=own)[0].status == 200
    assert send(service, "DELETE", "/session", Cookie=cookie, Sec_Fetch_Site="none")[0].status == 403


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"token": "nonsense"}, {}, 401),
        ({"token": f"eat_{'0' * 16}_{'a' * 43}"}, {}, 401),
        ({"token": 5}, {}, 400),
        ({}, {}, 400),
        ({"token": "x", "more": 1}, {}, 400),
        ({"token": "x" * 5000}, {}, 413),
        ({"token": "x"}, {"Content_Type": "text/plain"}, 415),
    ],
)
def test_a_body_that_cannot_be_used(service, body, headers, status):
    response, said = send(service, "POST", "/session", body, **headers)
    assert (response.status, set(said)) == (status, {"type", "title", "status", "detail", "where", "hint"})


def test_a_body_that_does_not_arrive_is_the_clients_fault(service):
    with socket.create_connection(("127.0.0.1", service.port), 30) as half:
        head = "POST /session HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"
        half.sendall(head.encode())
        response = http.client.HTTPResponse(half)
        response.begin()
        said = json.loads(response.read())
    assert (response.status, said["where"]) == (408, "body")


def test_a_token_is_not_a_session(service, token):
    response, said = send(service, "GET", "/session", Authorization=f"Bearer {token}")
    assert (response.status, said["detail"]) == (401, "a token is not a session")
    assert "POST /session" in said["hint"]


@pytest.mark.parametrize("change", ["id", "secret", "shape", "empty"])
def test_a_forged_cookie_opens_nothing(service, token, change):
    name, _, value = cookie_of(signed_in(service, token)[0]).partition("=")
    session_id, secret = value.split(".")
    forged = {
        "id": f"{'0' * 16}.{secret}",
        "secret": f"{session_id}.{'a' * 43}",
        "shape": token,
        "empty": "",
    }[change]
    assert send(service, "GET", "/session", Cookie=f"{name}={forged}")[0].status == 401


class Kept:
    """Stands in for ClickHouse: only the timing matters."""

    rows: tuple = ()

    async def write(self, sql, parameters):
        self.rows = (tuple(parameters.values()),)

    async def read(self, sql, parameters):
        return self.rows


def test_a_session_ends_by_its_time():
    token = AccessToken("0" * 16, "a" * 64, "acme", "", datetime.now(UTC), False)
    now = [1000.0]

    async def find(token_id):
        return token if token_id == token.token_id else None

    async def main():
        sessions = PageSessions(Kept(), find, lambda: now[0], lambda: now[0])
        value, _ = await sessions.open(token)
        assert (await sessions.check(value)).token is token
        now[0] += LIFETIME_S - 1
        assert (await sessions.check(value)).token is token
        now[0] += 1
        assert await sessions.check(value) is None

    asyncio.run(main())
