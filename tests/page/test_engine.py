"""The section Engine: averages, each replica, metrics defined by agents, and how to send the first ones."""

import pytest
from tests.page.seen import number
from tests.page.truth import Truth


def test_the_average_is_the_truth(visit, client, story):
    begin = story.end_s - 600
    seen = visit(f"?endpoint=acme/llm&section=engine&from={begin}&to={story.end_s}")
    seen.point_at("engine_requests", begin + 305)
    seen.page.locator(".readout.is-pointing").wait_for()
    for graph, metric, unit in (
        ("engine_requests", "engine_running_requests", 1),
        ("engine_requests", "engine_waiting_requests", 1),
        ("engine_kv_cache", "engine_kv_cache_percent", 1),
        ("engine_tokens", "engine_prompt_tokens_per_second", 1000),
        ("engine_lora_slots", "engine_lora_slots", 1),
    ):
        expected = Truth(client).engine(metric, begin + 300, begin + 310) / unit
        assert number(seen.legend(graph)[metric]) == pytest.approx(expected, rel=0.01, abs=0.006), metric
    assert seen.legend("engine_tokens")["engine_prompt_tokens_per_second"].endswith("k/s")


def test_details_show_each_replica(visit, hour):
    seen = visit(f"{hour}&section=engine")
    assert list(seen.legend("engine_requests")) == ["engine_running_requests", "engine_waiting_requests"]
    seen.page.get_by_role("radio", name="Details").click()
    seen.entry("engine_kv_cache", "engine_kv_cache_percent.llm-7d4f-k2x9q").wait_for()
    assert len(seen.legend("engine_kv_cache")) == 4
    assert len(seen.legend("engine_requests")) == 8
    labels = seen.graph("engine_requests").locator(".legend-entry").all_inner_texts()
    assert any("llm-7d4f-k2x9q waiting" in label for label in labels)


def test_a_metric_that_only_the_agent_knows_has_a_graph_of_its_own(visit, hour):
    seen = visit(f"{hour}&section=engine")
    assert seen.graph("engine_lora_slots").get_by_role("heading", name="Lora slots").is_visible()


def test_without_an_engine_the_page_says_how_to_send(visit, story):
    seen = visit(f"?endpoint=acme/embedder&section=engine&from={story.end_s - 600}&to={story.end_s}")
    assert seen.page.get_by_text("No serving engine metrics in this range").is_visible()
    command = seen.page.get_by_label("Command that scrapes a serving engine").inner_text()
    assert "endpoint-analytics agent scrape" in command
    assert "--namespace acme --endpoint embedder" in command
    assert not seen.graph("engine_tokens").is_visible()
    seen.page.get_by_role("radio", name="Compute").click()
    seen.graph("cpu").locator(".plot").wait_for()
