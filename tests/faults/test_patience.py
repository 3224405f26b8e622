"""The harness itself: it waits for slow parts, and reports whether missing data is lost or stalled."""

from __future__ import annotations

import re
import time

import pytest
from tests.faults.clickhouse_proxy import PASS, Fate
from tests.faults.patience import LostError, StalledError
from tests.faults.rig import Rig, pause

TRAFFIC = {"rate": 8.0, "duplicates": 0.05, "hardware": True}


@pytest.mark.slow
def test_what_is_slow_is_waited_for(rig: Rig) -> None:
    """A worker whose inserts take 3 s each needs longer than the stall timeout, but is exact in the end."""
    rig.stalled_after_s = rig.lost_after_s = 8
    rig.send_fast(40, **TRAFFIC)
    rig.proxy.rule = lambda request: Fate("slow", delay_s=3) if request.is_insert else PASS
    rig.worker()
    begun = time.monotonic()
    rig.verify("slower than a stall may last")
    assert time.monotonic() - begun > rig.stalled_after_s


def test_what_is_lost_is_called_lost(rig: Rig) -> None:
    rig.lost_after_s = 3
    rig.send_fast(3, **TRAFFIC)
    rig.worker()
    rig.verify("before rows are taken away")
    rig.client.command("TRUNCATE TABLE request_windows")
    with pytest.raises(LostError, match=r"(?s)lost.*not stored: none.*not in the windows"):
        rig.verify("rows taken away")


@pytest.mark.slow
def test_what_waits_is_called_stalled(rig: Rig) -> None:
    rig.stalled_after_s = rig.lost_after_s = 4
    worker = rig.worker()
    rig.send_fast(2, **TRAFFIC)
    rig.verify("before the worker stands still")
    pause(worker)
    rig.send_fast(2, name=f"{rig.name}-more", **TRAFFIC)
    with pytest.raises(StalledError, match="stalled") as failure:
        rig.verify("the worker stands still")
    assert re.search(r"not stored: \{'\w+/\d': \d+", str(failure.value))
