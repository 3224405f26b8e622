"""Every serving engine is tested, and documented wherever the guide in docs/architecture.md says."""

from __future__ import annotations

import re

import pytest
from tests.agents.scrape import test_readings
from tests.support.parts import ROOT

from endpoint_analytics.agents.scrape.engines import ENGINES

# How people write them; the page is docs/instrument/PAGE.md.
NAMES = {
    "vllm": ("vLLM", "vllm"),
    "sglang": ("SGLang", "sglang"),
    "tgi": ("TGI", "tgi"),
    "tei": ("TEI", "tei"),
    "triton": ("Triton", "triton"),
    "llamacpp": ("llama.cpp", "llama-cpp"),
    "ray": ("Ray Serve", "ray-serve"),
}
ENGINES_PAGE = (ROOT / "docs/instrument/engines.md").read_text()


@pytest.mark.parametrize("engine", [engine.name for engine in ENGINES])
def test_an_engine_is_complete(engine):
    name, page = NAMES[engine]
    assert engine in {tested for tested, _ in test_readings.GAUGES.values()}
    first = re.split(r"\n\n", ENGINES_PAGE)[1]
    assert name in first
    assert re.search(rf"^\| here \|.*{re.escape(name)}", ENGINES_PAGE, re.MULTILINE)
    assert re.search(rf"^\| {re.escape(name)}", ENGINES_PAGE, re.MULTILINE)
    assert (ROOT / f"docs/instrument/{page}.md").is_file()
    assert f"]({page}.md)" in (ROOT / "docs/instrument/README.md").read_text()
    assert name in (ROOT / "pipeline/serve/page/src/empty.ts").read_text()
