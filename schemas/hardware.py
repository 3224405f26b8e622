"""The hardware batch: samples of one replica's processor, memory and accelerators, as columns."""

from __future__ import annotations

from typing import Annotated

import msgspec

from endpoint_analytics.schemas.limits import MAX_METRICS, MAX_NAME_LENGTH
from endpoint_analytics.schemas.samples import Reading, SampleBatch

# In patterns, `$` alone also matches before a final line feed.
MetricName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}(?!\n)$")]
Readings = Annotated[dict[MetricName, list[Reading | None]], msgspec.Meta(max_length=MAX_METRICS)]


class Accelerator(msgspec.Struct, frozen=True, gc=False):
    """One GPU; `device` is `gpu0`, `gpu1` ... as the replica sees it."""

    device: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_.-]{0,31}(?!\n)$")]
    readings: Readings
    uuid: Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)] = ""
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)] = ""


class HardwareBatch(SampleBatch, frozen=True, kw_only=True, gc=False):
    """Columns of readings of a replica, and of each of its accelerators."""

    replica: Readings = msgspec.field(default_factory=dict)
    accelerators: list[Accelerator] = msgspec.field(default_factory=list)
