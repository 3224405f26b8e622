"""A fleet's batches are correct: valid, conserved, contiguous, and equal to its recorded truth."""

from __future__ import annotations

import random

import pytest

from endpoint_analytics.infra.fleet.boot import SimulatedBoot
from endpoint_analytics.infra.fleet.config import FleetConfig
from endpoint_analytics.infra.fleet.latency import parse_latency
from endpoint_analytics.infra.fleet.truth import BootName, Counts
from endpoint_analytics.schemas.codec import decode_requests, encode

NAME = BootName("tests", "llm", "llm-0", "boot-0")
START_US = 1_790_000_000_000_000


def batches(count: int, **settings: object):
    boot = SimulatedBoot(NAME, FleetConfig(**settings), random.Random(7), START_US)
    for _ in range(count):
        batch, counts = boot.batch(boot.end_us + 1_000_000)
        yield decode_requests(encode(batch)), counts


@pytest.mark.parametrize("law", ["lognormal", "pareto:0.2:1.1", "constant:2.5", "constant:0", "bimodal"])
def test_batches_are_conserved(law: str) -> None:
    pending = streaming = 0
    end_us = START_US
    for seq, (batch, _) in enumerate(
        batches(200, latency=parse_latency(law), abort_pending=0.1, abort_streaming=0.1)
    ):
        assert (batch.seq, batch.start_us) == (seq, end_us)
        assert (batch.pending, batch.streaming) == (pending, streaming)
        responded, finished = len(batch.responded.at_us), len(batch.finished.at_us)
        pending += len(batch.arrived.at_us) - responded - len(batch.aborted_pending.at_us)
        streaming += responded - finished - len(batch.aborted_streaming.at_us)
        assert min(pending, streaming) >= 0
        totals = batch.totals
        ended = totals.finished + totals.aborted_pending + totals.aborted_streaming
        assert totals.arrived == ended + pending + streaming
        end_us = batch.end_us
    assert totals.arrived > 1000


def test_counts_add_up_to_the_totals() -> None:
    sum_of = Counts()
    for batch, counts in batches(100, informational=0.3):
        sum_of.add(counts)
        assert counts.events == batch.events
    assert sum_of.totals() == batch.totals
    by_phase = sum(count for (_, phase), count in sum_of.windows.items() if phase == "finished")
    assert by_phase == sum_of.finished > 0
    assert sum_of.status["103"] > 0


def test_a_seed_gives_the_same_batches_again() -> None:
    assert [batch for batch, _ in batches(20)] == [batch for batch, _ in batches(20)]
