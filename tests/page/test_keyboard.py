"""Without a mouse: everything can be reached, shows its focus, and can be operated."""

from tests.page.seen import REQUEST_GRAPHS
from tests.support.waiting import until


def focused(seen):
    return seen.page.evaluate(
        "document.activeElement?.closest('button, a, select, input, .plot')?.outerHTML ?? ''"
    )


def test_tab_reaches_everything_that_can_be_used_in_reading_order(visit, hour):
    seen = visit(hour)
    reached = []
    for _ in range(60):
        seen.page.keyboard.press("Tab")
        reached.append(focused(seen))
    text = "\n".join(reached)
    for mark in ('href="?"', "Sign out", 'data-value="requests"', 'id="events"', 'id="replica"', 'id="back"',
                 'id="range"', 'id="refresh"', 'data-value="class"', 'data-key="2xx"', 'data-key="p99"'):  # fmt: skip
        assert mark in text, mark
    assert sum('class="plot"' in each for each in reached) >= len(REQUEST_GRAPHS)
    assert text.index('id="replica"') < text.index('data-value="class"') < text.index('data-key="p99"')


def test_the_focus_can_be_seen(visit, hour):
    seen = visit(hour)
    for _ in range(8):
        seen.page.keyboard.press("Tab")
        style = seen.page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth]; })()"
        )
        assert style == ["solid", "2px"], focused(seen)


def test_arrows_move_the_crosshair_and_it_is_spoken(visit, hour):
    seen = visit(hour)
    seen.graph("latency").locator(".plot").focus()
    seen.page.keyboard.press("ArrowLeft")
    last = seen.page.locator(".readout").inner_text()
    seen.page.keyboard.press("Shift+ArrowLeft")
    seen.page.keyboard.press("ArrowLeft")
    assert seen.page.locator(".readout").inner_text() != last
    spoken = seen.page.locator("#spoken")
    spoken.filter(has_text="p99").wait_for(state="attached")
    p99 = seen.legend("latency")["p99"]
    assert f"p99 {p99}" in spoken.inner_text()
    assert seen.page.locator(".u-cursor-x:not(.u-off)").count() == len(REQUEST_GRAPHS)


def test_plus_zooms_in_and_escape_leads_back(visit, hour):
    seen = visit(hour)
    start = seen.range()
    seen.graph("pending").locator(".plot").focus()
    seen.page.keyboard.press("ArrowLeft")
    seen.page.keyboard.press("+")
    assert until(lambda: seen.ranges() != {start})
    seen.ready()
    begin, end = seen.range()
    assert end - begin < (start[1] - start[0]) * 0.7
    seen.page.keyboard.press("Escape")
    assert until(lambda: seen.ranges() == {start})


def test_sections_and_legends_without_a_mouse(visit, hour):
    seen = visit(hour)
    seen.page.locator(".tabs [aria-checked=true]").focus()
    seen.page.keyboard.press("ArrowRight")
    seen.graph("cpu").wait_for()
    assert "section=compute" in seen.query
    seen.page.keyboard.press("ArrowLeft")
    seen.graph("latency").wait_for()
    seen.ready()
    seen.entry("latency", "p95").focus()
    seen.page.keyboard.press("Space")
    assert "hide=latency.p95" in seen.query
    assert 'data-key="p95"' in focused(seen)


def test_backspace_in_a_field_is_only_that(visit, hour):
    seen = visit(hour)
    seen.drag("requests", 0.2, 0.8)
    zoomed = seen.page.url
    seen.page.get_by_label("Time range").focus()
    seen.page.keyboard.press("Backspace")
    seen.page.wait_for_timeout(200)
    assert seen.page.url == zoomed
