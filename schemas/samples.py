"""What all batches of samples have in common: the sender, the interval, and the time of each sample."""

from __future__ import annotations

from typing import Annotated

import msgspec

from endpoint_analytics.schemas.limits import MAX_READING, MAX_SAMPLES
from endpoint_analytics.schemas.requests import Count, Offset, TimeUs

VERSION = 1

# A reading is a number in the unit at the end of the metric's name, or null if none could be taken.
Reading = Annotated[float, msgspec.Meta(ge=-MAX_READING, le=MAX_READING)]


class SampleBatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Samples taken at `at_us` (offsets after `start_us`); every column has the length of `at_us`."""

    version: int = VERSION
    namespace: str
    endpoint: str
    replica_id: str
    boot_id: str
    seq: Count
    start_us: TimeUs
    end_us: TimeUs
    at_us: Annotated[list[Offset], msgspec.Meta(max_length=MAX_SAMPLES)]
