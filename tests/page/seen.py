"""What a user sees and does on the page: read a number, point, drag. Tests look no deeper than this."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page

REQUEST_GRAPHS = ("requests", "pending", "latency", "ttfb")
"""The graphs of the Requests section, in their order."""
DASH = "\N{EN DASH}"
"""Shown instead of a missing number."""


class Seen:
    """A page in a browser."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def ready(self) -> None:
        """Wait until the requested data is shown."""
        self.page.locator(".stage[aria-busy=false]").wait_for()

    @property
    def query(self) -> str:
        # From the browser itself: `page.url` is updated a moment later.
        return str(self.page.evaluate("location.search.slice(1)"))

    def box(self, name: str) -> tuple[str, str]:
        """A box's large number and the small one below it."""
        box = self.page.locator(f'[data-box="{name}"]')
        return box.locator(".box-value").inner_text(), box.locator(".box-detail").inner_text()

    def graph(self, name: str) -> Locator:
        return self.page.locator(f'.graph[data-graph="{name}"]')

    def legend(self, graph: str) -> dict[str, str]:
        """Names in a legend, with their values."""
        entries = self.graph(graph).locator(".legend-entry").all()
        return {
            entry.get_attribute("data-key"): entry.locator(".legend-value").inner_text() for entry in entries
        }

    def entry(self, graph: str, key: str) -> Locator:
        return self.graph(graph).locator(f'.legend-entry[data-key="{key}"]')

    def ranges(self) -> set[tuple[int, int]]:
        """The time range of each graph."""
        found = self.page.locator(".plot[data-from], .bars-area[data-from]").all()
        return {(int(each.get_attribute("data-from")), int(each.get_attribute("data-to"))) for each in found}

    def range(self) -> tuple[int, int]:
        """The common time range of all graphs."""
        (only,) = self.ranges()
        return only

    def over(self, graph: str) -> dict[str, float]:
        """The position of a graph's plot."""
        area = self.graph(graph).locator(".u-over")
        area.scroll_into_view_if_needed()
        return area.bounding_box()

    def point(self, graph: str, share: float) -> None:
        """Point at a fraction of a graph's width."""
        box = self.over(graph)
        self.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)

    def point_at(self, graph: str, at: float) -> None:
        """Point at a time."""
        (begin, end) = self.range()
        self.point(graph, (at - begin) / (end - begin))

    def drag(self, graph: str, begin: float, end: float) -> None:
        """Drag between two fractions of a graph's width, and wait for the requested data."""
        box = self.over(graph)
        self.drag_box(box, begin, end)

    def drag_box(self, box: dict[str, float], begin: float, end: float) -> None:
        y = box["y"] + box["height"] / 2
        before = self.page.url
        self.page.mouse.move(box["x"] + box["width"] * begin, y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + box["width"] * (begin + end) / 2, y, steps=4)
        self.page.mouse.move(box["x"] + box["width"] * end, y, steps=4)
        self.page.mouse.up()
        self.page.wait_for_url(lambda url: url != before)
        self.ready()

    def ink(self, graph: str, begin: float, end: float) -> list[int]:
        """The number of strongly coloured pixels in each column of a plot, between two fractions of its width."""
        return (
            self.graph(graph)
            .locator("canvas")
            .evaluate(
                """(canvas, [begin, end, area]) => {
                const ratio = canvas.width / canvas.clientWidth;
                const left = Math.round((area.x + begin * area.width) * ratio);
                const width = Math.max(1, Math.round((end - begin) * area.width * ratio));
                const top = Math.round(area.y * ratio), height = Math.round(area.height * ratio);
                const { data } = canvas.getContext("2d").getImageData(left, top, width, height);
                const columns = new Array(width).fill(0);
                for (let i = 0; i < data.length; i += 4) {
                    const rgb = [data[i], data[i + 1], data[i + 2]];
                    const strong = data[i + 3] > 60 && Math.max(...rgb) - Math.min(...rgb) > 40;
                    if (strong) columns[(i / 4) % width] += 1;
                }
                return columns;
            }""",
                [begin, end, self._inside(graph)],
            )
        )

    def _inside(self, graph: str) -> dict[str, float]:
        return (
            self.graph(graph)
            .locator(".u-over")
            .evaluate(
                "over => ({x: over.offsetLeft, y: over.offsetTop, width: over.clientWidth, height: over.clientHeight})"
            )
        )

    def axe(self, source: str) -> list[dict[str, Any]]:
        """Serious and critical findings of axe-core."""
        self.page.evaluate(source)
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            {"id": each["id"], "impact": each["impact"], "nodes": [node["html"][:160] for node in each["nodes"]][:3],
             "why": each["nodes"][0]["failureSummary"]}
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]  # fmt: skip


def number(text: str) -> float:
    """The number in a text, with grouped thousands; None for a dash."""
    found = re.search(r"[\d,]+(?:\.\d+)?", text)
    assert found, f"no number in {text!r}"
    return float(found[0].replace(",", ""))


def seconds(text: str) -> float:
    """A duration with a single unit."""
    units = {"µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
    return number(text) * units[text.rsplit(maxsplit=1)[-1]]
