"""The section Compute: averages, each replica, and graphs without data."""

import pytest
from tests.page.seen import number
from tests.page.truth import Truth


def test_the_average_is_the_truth(visit, client, story):
    begin = story.end_s - 600
    seen = visit(f"?endpoint=acme/llm&section=compute&from={begin}&to={story.end_s}")
    seen.point_at("cpu", begin + 305)
    seen.page.locator(".readout.is-pointing").wait_for()
    for graph, metric, unit in (("cpu", "cpu_percent", 1), ("gpu_memory", "gpu_memory_used_bytes", 1e9),
                                ("gpu_power", "gpu_power_watts", 1)):  # fmt: skip
        expected = Truth(client).hardware(metric, begin + 300, begin + 310) / unit
        assert number(seen.legend(graph)[metric]) == pytest.approx(expected, rel=0.01), graph
    assert seen.legend("gpu_memory")["gpu_memory_total_bytes"] == "24 GB"


def test_details_show_each_replica_and_device(visit, hour):
    seen = visit(f"{hour}&section=compute")
    assert list(seen.legend("gpu")) == ["gpu_percent"]
    seen.page.get_by_role("radio", name="Details").click()
    seen.entry("gpu", "gpu_percent.llm-7d4f-k2x9q.gpu0").wait_for()
    assert len(seen.legend("gpu")) == 4
    # All limits are the same: one line.
    assert list(seen.legend("gpu_memory").values()).count("24 GB") == 1
    assert "details=1" in seen.query


def test_problems_are_shown_only_for_affected_replicas(visit, hour, story):
    seen = visit(f"{hour}&section=compute")
    assert seen.legend("oom_kills") == {"oom_kills": "1"}
    assert not seen.graph("throttled").is_visible()
    seen = visit(f"?endpoint=acme/embedder&section=compute&from={story.end_s - 600}&to={story.end_s}")
    assert seen.graph("cpu").is_visible()
    assert not seen.graph("oom_kills").is_visible()


def test_a_graph_without_data_says_so_in_little_room(visit, story):
    seen = visit(f"?endpoint=acme/embedder&section=compute&from={story.end_s - 600}&to={story.end_s}")
    empty = seen.graph("gpu")
    assert empty.get_by_text("No samples in this range.").is_visible()
    assert not empty.locator(".plot").is_visible()
    assert empty.bounding_box()["height"] < 90
    assert seen.graph("cpu").locator(".plot").is_visible()
