"""A fleet's hardware batches: one sample per interval, with the seq of that interval's request batch. Pure."""

from __future__ import annotations

import random

from endpoint_analytics.schemas.hardware import HardwareBatch
from endpoint_analytics.schemas.metrics import CPU_PERCENT, MEMORY_LIMIT_BYTES, MEMORY_USED_BYTES
from endpoint_analytics.schemas.requests import RequestBatch

_MEMORY_BYTES = 16 * 1024**3


def hardware_batch(batch: RequestBatch, rng: random.Random) -> HardwareBatch:
    """Return a sample taken in the middle of the batch's interval."""
    return HardwareBatch(
        namespace=batch.namespace,
        endpoint=batch.endpoint,
        replica_id=batch.replica_id,
        boot_id=batch.boot_id,
        seq=batch.seq,
        start_us=batch.start_us,
        end_us=batch.end_us,
        at_us=[(batch.end_us - batch.start_us) // 2],
        replica={
            CPU_PERCENT.name: [round(rng.uniform(5, 95), 1)],
            MEMORY_USED_BYTES.name: [float(rng.randrange(_MEMORY_BYTES // 4, _MEMORY_BYTES // 2))],
            MEMORY_LIMIT_BYTES.name: [float(_MEMORY_BYTES)],
        },
    )
