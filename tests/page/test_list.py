"""The entry page: each endpoint's figures against SQL."""

import time
from datetime import UTC, datetime

import pytest
from tests.page.seen import DASH, number
from tests.page.truth import Truth
from tests.pipeline.store import rows
from tests.support.waiting import until


@pytest.fixture(scope="module")
def busy(client, story):
    """Four minutes of traffic until now, on a separate endpoint."""
    now = datetime.now(UTC)
    made = [story.window("busy-0", int(now.timestamp()) // 10 * 10 - 10 * back, 1) for back in range(1, 25)]
    rows.insert(client, "request_windows", [row | {"endpoint": "busy"} for row in made])
    rows.insert(
        client,
        "boot_states",
        [rows.boot(now, replica="busy-0", boot_id="busy-0-1", endpoint="busy", age_s=0.1, pending=7)],
    )
    return "busy"


def words(element):
    return " ".join(element.inner_text().split())


def test_figures_are_the_truth(visit, client, busy):
    seen = visit()
    card = seen.page.locator('[data-endpoint="acme/busy"]')
    card.wait_for()
    end = int(time.time())
    statuses, _, _ = Truth(client).statuses(end - 300, end, endpoint=busy)
    total = sum(statuses.values())
    failed = sum(count for status, count in statuses.items() if status >= 500)

    def figure(name):
        return card.locator(f'[data-figure="{name}"] .figure-value').inner_text()

    rate = figure("Requests")
    a_second = number(rate) / (60 if rate.endswith("/min") else 1)
    assert a_second == pytest.approx(total / 240, rel=0.02)  # of the time that was reported
    assert number(figure("Errors")) == pytest.approx(100 * failed / total, abs=0.06)
    assert figure("Pending") == "7"
    assert words(card.locator(".running")) == "1 running"
    assert card.locator(".spark").count() == 4


def test_an_endpoint_that_is_silent_shows_dashes(visit, client):
    past = datetime.fromtimestamp(time.time() - 7_000, UTC)
    rows.insert(client, "boot_states", [rows.boot(past, replica="x", boot_id="x1", endpoint="silent")])
    card = visit().page.locator('[data-endpoint="acme/silent"]')
    card.wait_for()
    assert card.locator(".figure-value").all_inner_texts() == [DASH] * 4
    assert words(card.locator(".running")) == "0 running"


def test_a_card_opens_the_endpoint_and_the_brand_leads_back(visit):
    seen = visit()
    seen.page.get_by_role("link", name="embedder").click()
    seen.page.wait_for_url("**?endpoint=acme/embedder")
    seen.graph("requests").wait_for()
    seen.page.get_by_role("link", name="Endpoint Analytics").click()
    seen.page.get_by_role("link", name="embedder").wait_for()
    seen.page.go_back()
    seen.graph("requests").wait_for()


def test_figures_follow_without_a_reload(visit, client, busy):
    seen = visit()
    pending = seen.page.locator('[data-endpoint="acme/busy"] [data-figure="Pending"] .figure-value')
    pending.wait_for()
    now = datetime.now(UTC)
    rows.insert(
        client,
        "boot_states",
        [rows.boot(now, replica="busy-0", boot_id="busy-0-1", endpoint="busy", age_s=0.1, pending=23,
                   version=int(now.timestamp()))],
    )  # fmt: skip
    assert until(lambda: pending.inner_text() == "23")
