"""The section Requests: every number against SQL, the toggle, and the legend."""

import pytest
from tests.page.seen import DASH, REQUEST_GRAPHS, number, seconds
from tests.page.truth import Truth, by_class


@pytest.fixture
def truth(client):
    return Truth(client)


def test_boxes_are_the_truth(visit, hour, truth, story):
    seen = visit(hour)
    statuses, aborted, finished = truth.statuses(story.end_s - 3600, story.end_s)
    final = sum(statuses.values())
    for name, count in by_class(statuses).items():
        share, detail = seen.box(name)
        assert number(detail) == count
        assert number(share) == pytest.approx(100 * count / final, abs=0.06)
    share, detail = seen.box("Aborted")
    assert number(detail) == aborted
    assert number(share) == pytest.approx(100 * aborted / (aborted + finished), abs=0.06)
    median, p99 = seen.box("Median")
    begin, end = story.end_s - 3600, story.end_s
    assert seconds(median) == pytest.approx(truth.quantile(0.5, begin, end), rel=0.02)
    assert seconds(p99.removeprefix("p99 ")) == pytest.approx(truth.quantile(0.99, begin, end), rel=0.02)
    _, oldest = seen.box("Pending")[1].split(", oldest ")
    assert seconds(oldest) == pytest.approx(truth.oldest(begin, end), rel=0.02)


def test_boxes_of_a_time_without_data_show_dashes(visit, story):
    seen = visit(f"?endpoint=acme/llm&from={story.end_s - 86_400}&to={story.end_s - 80_000}")
    assert [seen.box(name) for name in ("2xx", "5xx", "Aborted", "Median", "Pending")] == [
        (DASH, "no data"),
        (DASH, "no data"),
        (DASH, "no data"),
        (DASH, "no requests"),
        (DASH, "no data"),
    ]
    assert seen.graph("requests").get_by_text("No replica reported anything").is_visible()


def test_one_replica_alone(visit, hour, truth, story):
    seen = visit(hour)
    seen.page.get_by_label("Replica", exact=True).select_option("llm-7d4f-p8wvn")
    statuses, _, _ = truth.statuses(story.end_s - 3600, story.end_s, "llm-7d4f-p8wvn")
    seen.page.locator('[data-box="2xx"]').filter(has_text=f"{by_class(statuses)['2xx']:,}").wait_for()
    assert "replica=llm-7d4f-p8wvn" in seen.query


def test_the_crosshair_reads_every_graph_at_one_moment(visit, hour, truth, story):
    seen = visit(hour)
    at = story.end_s - 1800
    seen.point_at("latency", at + 15)
    seen.page.locator(".readout.is-pointing").wait_for()
    note = seen.graph("requests").locator(".card-note").inner_text()
    assert note == "each bar is 30 s"
    statuses, aborted, _ = truth.statuses(at, at + 30)
    expected = {"3xx": 0, "4xx": 0, "5xx": 0} | dict(by_class(statuses)) | {"aborted": aborted}
    assert {name: number(value) for name, value in seen.legend("requests").items()} == expected
    p99 = truth.quantile(0.99, at, at + 30)
    assert seconds(seen.legend("latency")["p99"]) == pytest.approx(p99, rel=0.02)
    assert all(value != DASH for value in {**seen.legend("pending"), **seen.legend("ttfb")}.values())
    assert seen.page.locator(".u-cursor-x:not(.u-off)").count() == len(REQUEST_GRAPHS)


def test_requests_by_status(visit, hour, truth, story):
    seen = visit(hour)
    seen.page.get_by_role("radio", name="Status").click()
    seen.entry("requests", "404").wait_for()
    statuses, _, _ = truth.statuses(story.end_s - 3600, story.end_s)
    assert list(seen.legend("requests")) == [*map(str, sorted(statuses)), "aborted"]
    assert "by=status" in seen.query
    seen.page.get_by_role("radio", name="Class").click()
    seen.entry("requests", "4xx").wait_for()


def test_a_legend_entry_hides_its_line_and_the_address_remembers(visit, hour):
    seen = visit(hour)
    # The rush 48 minutes before the end is in the left half.
    before = sum(seen.ink("latency", 0.05, 0.35))
    seen.entry("latency", "p99").click()
    assert seen.entry("latency", "p99").get_attribute("aria-pressed") == "false"
    assert "hide=latency.p99" in seen.query
    assert sum(seen.ink("latency", 0.05, 0.35)) != before
    seen.page.reload()
    seen.ready()
    assert seen.entry("latency", "p99").get_attribute("aria-pressed") == "false"
    seen.entry("latency", "p99").click()
    assert "hide" not in seen.query
    assert sum(seen.ink("latency", 0.05, 0.35)) == pytest.approx(before, rel=0.05)


def test_alt_click_leaves_one_line_alone(visit, hour):
    seen = visit(hour)
    seen.entry("requests", "5xx").click(modifiers=["Alt"])
    pressed = seen.graph("requests").locator(".legend-entry[aria-pressed=true]")
    assert [each.get_attribute("data-key") for each in pressed.all()] == ["5xx"]
    seen.entry("requests", "5xx").click(modifiers=["Alt"])
    assert pressed.count() == 5


def test_a_gap_is_a_gap_and_never_zero(visit, hour, story):
    seen = visit(hour)
    begin, end = (1 - age / 3600 for age in (story.gap_s[0], story.gap_s[1]))
    margin = 0.02
    for graph in REQUEST_GRAPHS:
        assert sum(seen.ink(graph, begin + margin, end - margin)) == 0, graph
        assert min(seen.ink(graph, end + margin, end + 4 * margin)) > 0, graph
    seen.point("pending", (begin + end) / 2)
    seen.page.locator(".readout.is-pointing").wait_for()
    for graph in REQUEST_GRAPHS:
        assert set(seen.legend(graph).values()) == {DASH}


def test_scale_events_are_marked_on_every_graph(visit, hour):
    seen = visit(hour)
    before = {graph: sum(seen.ink(graph, 0, 1)) for graph in REQUEST_GRAPHS}
    seen.page.get_by_label("Scale events").check()
    seen.page.wait_for_timeout(100)
    seen.ready()
    seen.page.wait_for_timeout(300)
    assert all(sum(seen.ink(graph, 0, 1)) > ink for graph, ink in before.items())
    assert "events=1" in seen.query
    seen.point("requests", 1 - 1000 / 3600)  # a replica failed here
    seen.page.locator(".readout").filter(has_text="llm-7d4f-p8wvn failed (out of memory)").wait_for()
