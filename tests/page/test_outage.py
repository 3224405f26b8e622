"""The connection lost and regained."""

from tests.page.conftest import SERVE_FLAGS
from tests.pipeline.serve.conftest import ServeProcess
from tests.support.waiting import until


def test_the_page_says_what_is_wrong_and_comes_back_by_itself(
    config, story, browser, signed_in, service, beat, tmp_path
):
    first = ServeProcess(config, tmp_path / "first", *SERVE_FLAGS)
    context = browser.new_context(storage_state=signed_in)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{first.port}/?endpoint=acme/llm&range=1h")
    page.locator(".stage[aria-busy=false]").wait_for()
    figure = page.locator('[data-box="2xx"] .box-value')
    before = figure.inner_text()
    first.stop()
    alert = page.get_by_role("alert").filter(has_text="The query service does not answer")
    alert.wait_for()
    assert "Next try in" in alert.inner_text() or "Trying" in alert.inner_text()
    assert figure.inner_text() == before  # the last known number stays visible
    second = ServeProcess(config, tmp_path / "second", "--port", str(first.port), *SERVE_FLAGS)
    try:
        alert.wait_for(state="hidden", timeout=20_000)
        assert until(lambda: page.locator(".is-stale").count() == 0)
    finally:
        context.close()
        second.stop()


def test_an_endpoint_that_begins_shows_by_itself(visit, client, story):
    from datetime import UTC, datetime

    from tests.pipeline.store import rows

    seen = visit("?endpoint=acme/newborn&range=5m", expect_trouble=True)
    seen.page.get_by_role("heading", name="No data of this endpoint yet").wait_for()
    assert 'namespace="acme", endpoint="newborn"' in seen.page.locator("pre").first.inner_text()
    now = datetime.now(UTC)
    row = story.window("n-0", int(now.timestamp()) // 10 * 10, 1)
    rows.insert(client, "request_windows", [row | {"endpoint": "newborn"}])
    rows.insert(client, "boot_states", [rows.boot(now, replica="n-0", endpoint="newborn", age_s=0)])
    seen.graph("requests").wait_for(timeout=20_000)


def test_an_answer_that_breaks_off_is_asked_for_again(visit, story):
    seen = visit("?endpoint=acme/llm&range=1h")
    broken = []

    def break_off(route):
        broken.append(route.request.url)
        route.fulfill(status=200, content_type="application/json", body='{"namespace": "ac')

    seen.page.route("**/series?*", break_off, times=2)
    alert = seen.page.get_by_role("alert").filter(has_text="broke off")
    alert.wait_for()
    alert.wait_for(state="hidden", timeout=20_000)
    assert len(broken) == 2


def test_what_the_api_refuses_is_said_in_its_words(visit):
    seen = visit("?endpoint=acme/llm&replica=never-seen&range=1h", expect_trouble=True)
    seen.page.route(
        "**/series?*",
        lambda route: route.fulfill(
            status=413,
            content_type="application/json",
            body='{"detail": "too many values", "where": "x", "hint": "ask for fewer points"}',
        ),
    )
    seen.page.get_by_role("radio", name="Status").click()
    alert = seen.page.get_by_role("alert").filter(has_text="Too many values. Ask for fewer points.")
    alert.wait_for()
