"""Signing in and out, as a user does."""

from datetime import UTC, datetime

import pytest
from tests.page.conftest import SERVE_FLAGS
from tests.pipeline.serve.conftest import ServeProcess

from endpoint_analytics.pipeline.store.tokens import create_token, parse_token, revoke_token

pytestmark = pytest.mark.usefixtures("story")


def sign_in(seen, token):
    seen.page.get_by_label("Access token").fill(token)
    seen.page.get_by_role("button", name="Sign in").click()


def test_a_token_opens_the_address_that_was_asked_for(visit, token, hour):
    seen = visit(hour, signed=False, expect_trouble=True)
    assert seen.page.get_by_label("Access token").evaluate("input => input === document.activeElement")
    sign_in(seen, token)
    seen.ready()
    assert seen.graph("latency").is_visible()
    assert f"?{seen.query}" == hour


def test_no_script_can_read_what_keeps_a_person_signed_in(visit, token):
    seen = visit(signed=False, expect_trouble=True)
    sign_in(seen, token)
    seen.ready()
    assert seen.page.evaluate("document.cookie") == ""
    assert token not in seen.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    (cookie,) = seen.page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert token not in cookie["value"]


def test_a_wrong_token_is_said_to_be_wrong(visit):
    seen = visit(signed=False, expect_trouble=True)
    sign_in(seen, "eat_0123456789abcdef_wrong")
    alert = seen.page.get_by_role("alert").filter(has_text="unknown or was revoked")
    alert.wait_for()
    assert seen.page.get_by_label("Access token").is_visible()


def test_signing_out_ends_it_in_every_tab(visit, token):
    seen = visit(signed=False, expect_trouble=True)
    sign_in(seen, token)
    seen.ready()
    captured = seen.page.context.cookies()
    seen.page.get_by_role("button", name="Sign out").click()
    seen.page.get_by_label("Access token").wait_for()
    assert seen.page.context.cookies() == []
    seen.page.reload()
    seen.page.get_by_label("Access token").wait_for()
    seen.page.context.add_cookies(captured)  # a captured cookie is worthless
    seen.page.reload()
    seen.page.get_by_label("Access token").wait_for()


def test_signing_out_that_does_not_reach_the_service_is_said(browser, config, signed_in, tmp_path):
    service = ServeProcess(config, tmp_path / "log", *SERVE_FLAGS)
    context = browser.new_context(storage_state=signed_in)
    try:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{service.port}/?endpoint=acme/llm&range=1h")
        page.locator(".stage[aria-busy=false]").wait_for()
        service.stop()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("alert").filter(has_text="You are still signed in").wait_for()
        assert context.cookies() != []
    finally:
        context.close()


def test_a_token_that_is_revoked_leads_to_the_form(visit, client, service):
    token = create_token(client, "acme", "short", datetime.now(UTC))
    seen = visit("?endpoint=acme/llm", signed=False, expect_trouble=True)
    sign_in(seen, token)
    seen.ready()
    token_id, _ = parse_token(token)
    revoke_token(client, token_id)
    seen.page.get_by_label("Access token").wait_for(timeout=30_000)


def test_a_token_sees_its_own_namespace_alone(visit, client):
    token = create_token(client, "other", "other", datetime.now(UTC))
    seen = visit(signed=False, expect_trouble=True)
    sign_in(seen, token)
    seen.page.get_by_role("heading", name="No endpoints yet").wait_for()
    assert "app.add_middleware(AnalyticsMiddleware" in seen.page.locator("pre").first.inner_text()
    seen.page.goto(seen.page.url.split("?")[0] + "?endpoint=acme/llm")
    seen.page.get_by_role("alert").filter(has_text="another namespace").wait_for()
