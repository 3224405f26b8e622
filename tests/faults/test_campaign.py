"""A short campaign: faults mixed at random from one seed. `make faults` plays ten, for longer."""

from __future__ import annotations

import os

from tests.faults.campaign import play
from tests.faults.rig import Parts

SEED = int(os.environ.get("SEED", "7"))


def test_a_short_campaign(parts: Parts) -> None:
    row, faults = play(parts, SEED, 12)
    assert faults.total() > 2
    assert row.stored > 100
