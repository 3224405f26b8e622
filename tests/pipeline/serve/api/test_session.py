"""Signing in to the page: the cookie over real HTTP, and what other sites may not do with it."""

import asyncio
import http.client
import json
from datetime import UTC, datetime

import pytest
from tests.parts import eventually
from tests.pipeline.store.rows import boot, insert

from endpoint_analytics.pipeline.serve.page_session import LASTS_S, SessionKeyError, Sessions, session_key
from endpoint_analytics.pipeline.store.tokens import Token, create_token, parse_token, revoke_token


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


def test_behind_https_the_cookie_is_secure(service, token):
    assert "Secure" in signed_in(service, token, X_Forwarded_Proto="https")[0]


def test_an_operators_session_is_good_for_all(service, operator_token):
    assert signed_in(service, operator_token)[1]["all"]


def test_signing_out_takes_the_cookie_back(service):
    response, _ = send(service, "DELETE", "/session")
    assert response.status == 204
    assert "Max-Age=0" in response.headers["Set-Cookie"]


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
        assert (response.status, said["error"]["where"]) == (403, "headers Origin and Sec-Fetch-Site"), path
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
        ({"token": "x"}, {"Content_Type": "text/plain"}, 400),
    ],
)
def test_a_body_that_cannot_be_used(service, body, headers, status):
    response, said = send(service, "POST", "/session", body, **headers)
    assert (response.status, set(said["error"])) == (status, {"what", "where", "mend"})


@pytest.mark.parametrize("change", ["id", "time", "mac", "shape", "empty"])
def test_a_forged_cookie_opens_nothing(service, token, change):
    name, _, value = cookie_of(signed_in(service, token)[0]).partition("=")
    token_id, expires, mac = value.split(".")
    forged = {
        "id": f"{'0' * 16}.{expires}.{mac}",
        "time": f"{token_id}.{int(expires) + 1}.{mac}",
        "mac": f"{token_id}.{expires}.{'0' * 64}",
        "shape": token,
        "empty": "",
    }[change]
    assert send(service, "GET", "/session", Cookie=f"{name}={forged}")[0].status == 401


def test_sessions_of_one_key_are_good_in_every_service(config, token, start_service, monkeypatch):
    monkeypatch.setenv("ENDPOINT_ANALYTICS_SESSION_KEY", "k" * 32)
    one, other = start_service(config), start_service(config)
    cookie = cookie_of(signed_in(one, token)[0])
    assert send(other, "GET", "/session", Cookie=cookie)[0].status == 200


async def _nothing(_):
    return None


def test_a_session_ends_by_its_time():
    token = Token("0" * 16, "a" * 64, "acme", "", datetime.now(UTC), False)
    now = [1000.0]

    async def find(token_id):
        return token if token_id == token.token_id else None

    sessions = Sessions(b"k" * 32, find, lambda: now[0])
    value, _ = sessions.open(token)
    assert asyncio.run(sessions.check(value)).token is token
    now[0] += LASTS_S
    assert asyncio.run(sessions.check(value)) is None
    now[0] = 1000.0
    assert asyncio.run(Sessions(b"j" * 32, find, lambda: now[0]).check(value)) is None
    assert asyncio.run(Sessions(b"k" * 32, _nothing, lambda: now[0]).check(value)) is None


def test_a_short_key_is_refused():
    with pytest.raises(SessionKeyError, match="32 or more"):
        session_key({"ENDPOINT_ANALYTICS_SESSION_KEY": "short"})
    assert session_key({}) != session_key({})
