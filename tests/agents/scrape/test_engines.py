"""Every serving engine is tested, and documented wherever the guide in docs/architecture.md says."""

from __future__ import annotations

import re

import pytest
from tests.agents.scrape import test_readings
from tests.support.parts import ROOT

from endpoint_analytics.agents.scrape.engines import ENGINES, ServingEngine

PAGE = "docs/instrument/engines.md"
NAMED_IN = ("README.md", "docs/page.md", "pipeline/serve/page/src/empty.ts")


@pytest.mark.parametrize("engine", ENGINES, ids=[engine.name for engine in ENGINES])
def test_an_engine_is_complete(engine: ServingEngine) -> None:
    title, text = re.escape(engine.title), (ROOT / PAGE).read_text()
    assert engine.name in {tested for tested, _ in test_readings.GAUGES.values()}, "no row in GAUGES"
    assert engine.name in {test_readings.GAUGES[key][0] for key in test_readings.RATES}, "no row in RATES"
    assert re.search(title, text.split("\n\n")[1]), f"not in the first paragraph of {PAGE}"
    for table, pattern in (
        ("one line for each server", rf"^\| {title}[ ,]"),
        ("how the metrics are mapped", rf"^\| here \|.* {title} \|"),
    ):
        assert re.search(pattern, text, re.MULTILINE), f'not in the table "{table}" of {PAGE}'
    for path in NAMED_IN:
        assert engine.title in (ROOT / path).read_text(), f"not in {path}"
    page = re.sub(r"[^a-z0-9]+", "-", engine.title.lower()) + ".md"
    assert (ROOT / "docs/instrument" / page).is_file(), f"no page docs/instrument/{page}"
    assert f"]({page})" in (ROOT / "docs/instrument/README.md").read_text(), (
        "no row in docs/instrument/README.md"
    )
