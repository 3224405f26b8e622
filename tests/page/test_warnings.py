"""Problems with the data are shown on the page: paused partitions, and several processes that send as one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.pipeline.store.rows import boot, hardware, insert, window

from endpoint_analytics.pipeline.store.paused_partitions import PausedPartition, newer_than

PAUSED = PausedPartition(
    "requests", 5, True, 1_767_323_045_250, 7, "2000 of the last 2000 messages were rejected", 7, 1
)


@pytest.fixture
def paused(client):
    """Mark a partition as paused, and at the end as resumed."""

    def say(row: PausedPartition) -> None:
        insert(client, "paused_partitions", [row.row("worker").values])

    say(replace(PAUSED, version=newer_than(0)))
    yield say
    say(PAUSED.resumed(7))


@pytest.mark.parametrize("query", ["", "?endpoint=acme/llm"], ids=["list", "endpoint"])
def test_a_paused_partition_stands_on_every_page_until_it_is_read_again(
    visit, story, beat, paused, query
) -> None:
    beat()
    page = visit(query).page
    banner = page.get_by_role("alert", name="Paused partitions")
    banner.wait_for()
    said = banner.inner_text()
    assert "Partition 5 of requests has been paused since " in said
    assert PAUSED.reason in said
    assert "endpoint-analytics partitions resume requests 5" in said
    paused(PAUSED.resumed(7))
    banner.wait_for(state="hidden")


def test_copies_and_conflicting_batches_are_shown(visit, client) -> None:
    now = datetime.now(UTC)
    rows = [
        boot(now, endpoint="copied", age_s=-60, copies=2, conflicts=12),
        boot(now, endpoint="copied", age_s=-60, boot_id="b1~2"),
        boot(now, endpoint="copied", age_s=-60, boot_id="b1~3"),
    ]
    insert(client, "boot_states", rows)
    page = visit("?endpoint=acme/copied").page
    lines = page.get_by_role("list", name="Copied processes").get_by_role("listitem")
    lines.first.wait_for()
    first, second = lines.all_inner_texts()
    assert first == (
        "2 more processes sent as an agent of r1, as when a memory snapshot is restored twice: all are counted"
    )
    said = "12 batches of r1 not counted: more than nine processes sent as one agent (the newest arrived between "
    assert second.startswith(said)


@pytest.mark.parametrize("stream", ["requests", "hardware"])
def test_the_time_in_which_batches_were_in_no_figure_is_marked_on_the_graphs_of_them(
    visit, client, stream
) -> None:
    now, name = datetime.now(UTC), f"crowd-{stream}"
    rows = [
        boot(now, endpoint=name, age_s=200, chunk=1, stream=stream),
        boot(now, endpoint=name, age_s=100, chunk=2, stream=stream, conflicts=3),
        boot(now, endpoint=name, age_s=10, chunk=3, stream=stream, conflicts=3),
    ]
    insert(client, "boot_states", rows)
    insert(client, "request_windows", [window(now, endpoint=name, arrived=5, covered_to_us=10_000_000)])
    insert(client, "hardware_windows", [hardware(now, "cpu_percent", 50, endpoint=name, age_s=20)])
    marked = set()
    for section in ("requests", "compute"):
        page = visit(f"?endpoint=acme/{name}&section={section}").page
        page.get_by_role("list", name="Copied processes").wait_for()
        page.locator(".plot[data-from]").first.wait_for()
        if page.locator(".has-losses").count():
            marked.add(section)
    assert marked == {"requests" if stream == "requests" else "compute"}
