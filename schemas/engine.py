"""The engine batch: what a serving engine (vLLM, TGI, Triton ...) tells of itself, as columns."""

from __future__ import annotations

from typing import Annotated

import msgspec

from endpoint_analytics.schemas.hardware import Reading
from endpoint_analytics.schemas.limits import MAX_METRICS, MAX_SAMPLES
from endpoint_analytics.schemas.requests import Count, Offset, TimeUs

VERSION = 1

# In patterns, `$` alone matches before a line feed at the end too.
EngineMetricName = Annotated[str, msgspec.Meta(pattern=r"^engine_[a-z0-9_]{1,56}(?!\n)$")]
EngineReadings = Annotated[dict[EngineMetricName, list[Reading | None]], msgspec.Meta(max_length=MAX_METRICS)]
EngineName = Annotated[str, msgspec.Meta(pattern=r"^([a-z][a-z0-9_.-]{0,31})?(?!\n)$")]


class EngineBatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
    engine: EngineName = ""
    readings: EngineReadings = {}
