"""The address contains the view: another user who opens it sees the same."""

from tests.page.seen import Seen


def everything(seen: Seen) -> dict[str, object]:
    return {
        "query": seen.query,
        "range": seen.range(),
        "boxes": [seen.box(name) for name in ("2xx", "4xx", "5xx", "Aborted", "Median", "Pending")],
        "legends": {graph: seen.legend(graph) for graph in ("requests", "pending", "latency")},
        "hidden": [
            each.get_attribute("data-key") for each in seen.page.locator("[aria-pressed=false]").all()
        ],
        "replica": seen.page.get_by_label("Replica", exact=True).input_value(),
        "events": seen.page.get_by_label("Scale events").is_checked(),
    }


def test_a_second_browser_sees_the_same(visit, hour):
    first = visit(hour)
    first.page.get_by_label("Replica", exact=True).select_option("llm-7d4f-m5rtz")
    first.page.get_by_role("radio", name="Status").click()
    first.page.get_by_label("Scale events").check()
    first.entry("requests", "404").wait_for()
    first.drag("latency", 0.55, 0.95)
    first.entry("latency", "p99").click()
    first.entry("requests", "200").click()
    second = visit(f"?{first.query}")
    assert everything(second) == everything(first)
    # A zoom from the address can be reset too.
    second.page.keyboard.press("Escape")
    second.page.wait_for_url(lambda url: "from=" not in url)


def test_an_address_with_nonsense_still_opens(visit):
    seen = visit("?endpoint=acme/llm&range=9y&section=x&by=y&refresh=7&from=z&hide=,,")
    assert seen.query.startswith("endpoint=acme/llm")
    assert seen.page.get_by_label("Time range").input_value() == "15m"
    assert seen.graph("requests").is_visible()
