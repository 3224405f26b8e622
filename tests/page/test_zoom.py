"""Zooming by dragging, and every way back."""

import pytest


def test_a_drag_over_one_graph_zooms_all(visit, hour, story):
    seen = visit(hour)
    assert seen.range() == (story.end_s - 3600, story.end_s)
    seen.drag("pending", 0.5, 0.75)
    begin, end = seen.range()
    assert begin == pytest.approx(story.end_s - 1800, abs=70)
    assert end == pytest.approx(story.end_s - 900, abs=70)
    assert f"from={begin}" in seen.query or f"from={begin + 1}" in seen.query or "from=" in seen.query
    # The boxes also show the zoomed range.
    assert seen.box("2xx")[1] != "no data"


def test_back_undoes_one_zoom_a_step(visit):
    seen = visit("?endpoint=acme/llm&range=1h&refresh=0")
    first = seen.page.get_by_label("Time range")
    assert first.input_value() == "1h"
    assert not seen.page.get_by_role("button", name="Back").is_visible()
    addresses = [seen.page.url]
    for begin, end in ((0.2, 0.9), (0.2, 0.8), (0.3, 0.7)):
        seen.drag("requests", begin, end)
        addresses.append(seen.page.url)
    seen.page.get_by_role("button", name="Back").click()
    seen.page.wait_for_url(addresses[2])
    seen.page.keyboard.press("Escape")
    seen.page.wait_for_url(addresses[1])
    seen.page.go_forward()
    seen.page.wait_for_url(addresses[2])
    seen.page.keyboard.press("Backspace")
    seen.page.wait_for_url(addresses[1])
    seen.page.go_back()
    seen.page.wait_for_url(addresses[0])
    seen.ready()
    assert first.input_value() == "1h"
    assert not seen.page.get_by_role("button", name="Back").is_visible()


def test_back_keeps_what_was_set_meanwhile(visit, hour):
    seen = visit(hour)
    seen.drag("requests", 0.3, 0.6)
    seen.page.get_by_role("radio", name="Status").click()
    seen.entry("requests", "404").wait_for()
    seen.page.keyboard.press("Escape")
    seen.page.wait_for_url(lambda url: hour in url and "by=status" in url)
    seen.ready()
    assert seen.entry("requests", "404").is_visible()


def test_a_double_click_undoes_all_zooms(visit, hour):
    seen = visit(hour)
    start = seen.page.url
    seen.drag("requests", 0.2, 0.8)
    seen.drag("latency", 0.2, 0.8)
    box = seen.over("ttfb")
    seen.page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 40)
    seen.page.wait_for_url(start)


def test_a_preset_ends_a_zoom(visit, hour):
    seen = visit(hour)
    seen.drag("requests", 0.2, 0.8)
    seen.page.get_by_label("Time range").select_option("Last 3 hours")
    seen.page.wait_for_url("**range=3h**")
    seen.ready()
    begin, end = seen.range()
    assert end - begin == pytest.approx(3 * 3600, abs=120)
    assert not seen.page.get_by_role("button", name="Back").is_visible()


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("Last 5 minutes", 300),
        ("Last 12 hours", 43_200),
        ("Last 2 days", 172_800),
        ("Last 30 days", 2_592_000),
    ],
)
def test_presets(visit, name, seconds):
    seen = visit("?endpoint=acme/llm&refresh=0")
    seen.page.get_by_label("Time range").select_option(name)
    seen.page.wait_for_function(
        "seconds => [...document.querySelectorAll('.plot[data-from]')].some("
        "plot => Math.abs(plot.dataset.to - plot.dataset.from - seconds) <= seconds / 30 + 20)",
        arg=seconds,
    )


def test_a_drag_over_the_timeline_zooms_too(visit, hour, story):
    seen = visit(f"{hour}&section=timeline")
    seen.drag_box(seen.page.locator(".bars").bounding_box(), 0.5, 1.0)
    begin, _ = seen.range()
    assert begin == pytest.approx(story.end_s - 1800, abs=70)
    seen.drag("running", 0.0, 0.5)
    begin, end = seen.range()
    assert end == pytest.approx(story.end_s - 900, abs=70)


def test_a_finger_marks_and_zooms(visit, hour, story):
    seen = visit(hour, has_touch=True, viewport={"width": 390, "height": 844}, is_mobile=True)
    box = seen.over("latency")
    y = box["y"] + box["height"] / 2
    session = seen.page.context.new_cdp_session(seen.page)

    def touch(kind: str, share: float | None) -> None:
        points = [] if share is None else [{"x": box["x"] + box["width"] * share, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = seen.page.url
    touch("touchStart", 0.25)
    for share in (0.3, 0.45, 0.6, 0.75):
        touch("touchMove", share)
    touch("touchEnd", None)
    seen.page.wait_for_url(lambda url: url != before)
    seen.ready()
    begin, end = seen.range()
    assert begin == pytest.approx(story.end_s - 2700, abs=130)
    assert end == pytest.approx(story.end_s - 900, abs=130)
