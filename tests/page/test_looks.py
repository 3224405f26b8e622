"""Light, dark and narrow; accessible by axe-core's rules; small, and self-contained."""

import gzip
from pathlib import Path

import pytest

from endpoint_analytics.pipeline.serve.static.static_files import DIST

AXE = Path(__file__).parent.parent.parent / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = {
    "list": "",
    "requests": "?endpoint=acme/llm&range=1h&refresh=0&events=1",
    "status": "?endpoint=acme/llm&range=1h&refresh=0&by=status&hide=requests.404",
    "compute": "?endpoint=acme/llm&range=1h&refresh=0&section=compute&details=1",
    "timeline": "?endpoint=acme/llm&range=1h&refresh=0&section=timeline",
    "empty": "?endpoint=acme/nobody",
}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, scheme):
    source = AXE.read_text()
    found = {}
    seen = visit(color_scheme=scheme, expect_trouble=True)
    origin = seen.page.url.split("?")[0]
    for name, query in VIEWS.items():
        seen.page.goto(origin + query)
        seen.ready()
        found[name] = seen.axe(source)
    # Signing out would end the session that all pages share.
    signed_out = visit(signed=False, color_scheme=scheme, expect_trouble=True)
    signed_out.page.get_by_label("Access token").wait_for()
    found["sign in"] = signed_out.axe(source)
    assert {name: faults for name, faults in found.items() if faults} == {}


def back_colour(seen):
    return seen.page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_dark_follows_the_system_until_it_is_chosen(visit, hour):
    seen = visit(hour, color_scheme="dark")
    dark = back_colour(seen)
    seen.page.get_by_role("button", name="Use light colours").click()
    light = back_colour(seen)
    assert light != dark
    seen.page.reload()
    seen.ready()
    assert back_colour(seen) == light
    seen.page.get_by_role("button", name="Use dark colours").click()
    assert back_colour(seen) == dark


@pytest.mark.parametrize("query", list(VIEWS.values()), ids=list(VIEWS))
def test_a_phone_shows_one_column_and_never_scrolls_sideways(visit, query):
    seen = visit(query, viewport={"width": 360, "height": 740}, expect_trouble=True)
    width = seen.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    graphs = seen.page.locator(".graph:not(.is-empty)").all()
    assert len({round(each.bounding_box()["x"]) for each in graphs}) <= 1


def test_the_first_view_is_small():
    """What a first visit fetches, compressed as sent: page, style, script, font and icon."""
    files = [path for path in DIST.iterdir() if path.suffix in (".html", ".css", ".js", ".woff2", ".svg")]
    sizes = {}
    for path in files:
        packed = path.with_name(f"{path.name}.gz")
        body = packed.read_bytes() if packed.is_file() else path.read_bytes()
        if packed.is_file():
            assert gzip.decompress(body) == path.read_bytes()
        sizes[path.suffix] = len(body)
    assert set(sizes) == {".html", ".css", ".js", ".woff2", ".svg"}
    assert sum(sizes.values()) < 150_000


def test_the_licences_of_what_is_inside_are_served(service):
    text = service.get("/licences.txt").text
    assert "uplot" in text
    assert "Permission is hereby granted" in text
    assert "SIL OPEN FONT LICENSE" in text.upper()


def test_first_graphs_within_a_second_on_an_idle_machine(visit, hour):
    seen = visit(hour)
    seen.page.reload()
    seen.page.locator(".u-over").first.wait_for()
    assert seen.page.evaluate("performance.now()") < 4000  # 0.5 s on an idle machine
