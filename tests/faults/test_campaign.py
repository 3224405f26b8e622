"""A short campaign: random faults from one seed. `make faults` runs ten longer ones."""

from __future__ import annotations

import os

import pytest
from tests.faults.campaign import busy, play
from tests.faults.rig import Parts

SEED = int(os.environ.get("SEED", "7"))


@pytest.mark.slow
def test_a_short_campaign(parts: Parts) -> None:
    row, faults = play(parts, SEED, 12)
    assert faults.total() > 2
    assert row.stored > 100


@pytest.mark.slow
@pytest.mark.parametrize("seed", [SEED + 1, SEED + 2, SEED + 3])
def test_a_campaign_while_all_cores_are_busy(parts: Parts, seed: int) -> None:
    """Slower, but just as exact."""
    with busy(os.cpu_count() or 1):
        row, _ = play(parts, seed, 12)
    assert row.stored > 50
