"""The section Timeline: running replicas with their bounds, and a bar for each."""

from datetime import UTC, datetime

import pytest
from tests.pipeline.store import rows


@pytest.fixture
def seen(visit, hour):
    return visit(f"{hour}&section=timeline")


def test_running_replicas_are_shown_with_the_limits_in_force(visit, story):
    seen = visit(f"?endpoint=acme/llm&section=timeline&from={story.end_s - 7200}&to={story.end_s}")
    read = []
    for age in (3_900, 3_500, 900):
        seen.point_at("running", story.end_s - age)
        seen.page.locator(".readout.is-pointing").wait_for()
        legend = seen.legend("running")
        read.append((legend["running"], legend["min_replicas"], legend["max_replicas"]))
    assert read == [("2", "1", "3"), ("2", "2", "4"), ("2", "2", "4")]


def test_a_bar_for_each_replica_with_its_time_to_ready(seen):
    rows = seen.page.locator(".bar-row")
    assert rows.count() == 4
    texts = rows.all_inner_texts()
    assert any("llm-7d4f-t3hjc" in text and "ready in 4 min 9 s" in text for text in texts)
    failed = seen.page.locator('[data-replica="llm-7d4f-p8wvn"]')
    assert [
        each.get_attribute("class").removeprefix("span state-") for each in failed.locator(".span").all()
    ] == [
        "pending",
        "downloading",
        "initializing",
        "running",
        "failed",
        "terminated",
    ]


def test_pointing_at_a_state_shows_its_details(seen):
    seen.page.locator('[data-replica="llm-7d4f-p8wvn"] .state-downloading').hover()
    card = seen.page.get_by_role("tooltip")
    card.wait_for()
    text = card.inner_text()
    assert "downloading" in text
    assert "llm-7d4f-p8wvn" in text
    assert "1 min 28 s" in text
    assert "model weights" in text
    seen.page.mouse.move(5, 5)
    card.wait_for(state="hidden")


def test_the_keyboard_goes_from_state_to_state(seen):
    first = seen.page.locator(".span[tabindex='0']")
    assert first.count() == 1
    first.focus()
    card = seen.page.get_by_role("tooltip")
    card.wait_for()
    seen.page.keyboard.press("ArrowDown")
    seen.page.keyboard.press("ArrowDown")
    seen.page.keyboard.press("ArrowRight")
    seen.page.keyboard.press("ArrowRight")
    assert "initializing" in card.inner_text()
    assert "llm-7d4f-p8wvn" in card.inner_text()
    label = seen.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == "llm-7d4f-p8wvn: initializing, 35 s, warming up"


def test_the_crosshair_is_on_the_bars_and_the_graph_alike(seen, story):
    seen.point_at("running", story.end_s - 1815)
    line = seen.page.locator(".bars-crosshair")
    line.wait_for()
    cursor = seen.graph("running").locator(".u-cursor-x").bounding_box()
    assert line.bounding_box()["x"] == pytest.approx(cursor["x"], abs=6)


def test_many_replicas_are_shown_when_asked_for(visit, client):
    now = datetime.now(UTC)
    reported = [
        rows.event(
            now,
            state,
            replica=f"m-{number:03}",
            endpoint="many",
            age_s=age - number,
            offset=2 * number + place,
        )
        for number in range(130)
        for place, (state, age) in enumerate((("pending", 700), ("running", 650)))
    ]
    rows.insert(client, "replica_events", reported)
    seen = visit("?endpoint=acme/many&section=timeline&refresh=0")
    bars = seen.page.locator(".bar-row")
    assert bars.count() == 60
    seen.page.get_by_role("button", name="Show all 130 replicas").click()
    assert bars.count() == 130
    assert seen.page.get_by_label("Replica", exact=True).locator("option").count() == 131
