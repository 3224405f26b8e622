"""The engine batch: metrics of a serving engine (vLLM, TGI, Triton ...), as columns."""

from __future__ import annotations

from typing import Annotated

import msgspec

from endpoint_analytics.schemas.limits import MAX_METRICS
from endpoint_analytics.schemas.samples import Reading, SampleBatch

# In patterns, `$` alone also matches before a final line feed.
EngineMetricName = Annotated[str, msgspec.Meta(pattern=r"^engine_[a-z0-9_]{1,56}(?!\n)$")]
EngineReadings = Annotated[dict[EngineMetricName, list[Reading | None]], msgspec.Meta(max_length=MAX_METRICS)]
EngineName = Annotated[str, msgspec.Meta(pattern=r"^([a-z][a-z0-9_.-]{0,31})?(?!\n)$")]


class EngineBatch(SampleBatch, frozen=True, kw_only=True, gc=False):
    """Columns of a serving engine's readings, one per metric."""

    engine: EngineName = ""
    readings: EngineReadings = msgspec.field(default_factory=dict)
