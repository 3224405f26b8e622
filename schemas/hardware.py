"""The hardware batch: samples of one replica's processor, memory and accelerators, as columns."""

from __future__ import annotations

from typing import Annotated

import msgspec

from endpoint_analytics.schemas.limits import MAX_METRICS, MAX_NAME_LENGTH, MAX_SAMPLES
from endpoint_analytics.schemas.requests import Count, Offset, TimeUs

VERSION = 1

# In patterns, `$` alone matches before a line feed at the end too.
# A reading is a number in the unit that the metric's name ends with, or null where none could be taken.
# The bound keeps sums of thousandths exact in 64 bits for every window.
Reading = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
MetricName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}(?!\n)$")]
Readings = Annotated[dict[MetricName, list[Reading | None]], msgspec.Meta(max_length=MAX_METRICS)]


class Accelerator(msgspec.Struct, frozen=True, gc=False):
    """One GPU: `device` is `gpu0`, `gpu1` ... as the replica sees them."""

    device: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_.-]{0,31}(?!\n)$")]
    readings: Readings
    uuid: Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)] = ""
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)] = ""


class HardwareBatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Samples taken at `at_us` (offsets after `start_us`); every column is as long as `at_us`."""

    version: int = VERSION
    namespace: str
    endpoint: str
    replica_id: str
    boot_id: str
    seq: Count
    start_us: TimeUs
    end_us: TimeUs
    at_us: Annotated[list[Offset], msgspec.Meta(max_length=MAX_SAMPLES)]
    replica: Readings = {}
    accelerators: list[Accelerator] = []
