"""The hardware batches of the live benchmark: a sample a second of each replica, with one GPU."""

from __future__ import annotations

import random
from collections.abc import Mapping

from msgspec.structs import replace
from tests.benchmarks.live_run import PARTITIONS

from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.hardware import Accelerator, HardwareBatch
from endpoint_analytics.schemas.samples import Reading

_REPLICA = {
    "cpu_percent": 63.217,
    "cpu_limit_cores": 8.0,
    "cpu_throttled_ratio": 0.031,
    "cpu_pressure_ratio": 0.124,
    "memory_used_bytes": 23_622_320_128.0,
    "memory_limit_bytes": 34_359_738_368.0,
    "memory_pressure_ratio": 0.0,
    "disk_read_bytes": 4_096.0,
    "disk_written_bytes": 81_920.0,
    "network_received_bytes": 1_340_213.0,
    "network_sent_bytes": 8_231_377.0,
}
_LIMITS = {"cpu_limit_cores", "memory_limit_bytes", "gpu_memory_total_bytes"}
_GPU = {
    "gpu_percent": 87.0,
    "gpu_memory_used_bytes": 61_203_283_968.0,
    "gpu_memory_total_bytes": 85_520_809_984.0,
    "gpu_power_watts": 412.7,
    "gpu_temperature_celsius": 61.0,
}


class HardwareReplica:
    """Makes a replica's hardware messages."""

    def __init__(self, number: int) -> None:
        self._rng = random.Random(number)
        self.partition = number % PARTITIONS
        gpu = Accelerator(
            device="gpu0",
            readings={name: [value] for name, value in _GPU.items()},
            uuid=f"GPU-{number:032x}",
            name="NVIDIA H100 80GB HBM3",
        )
        self._batch = HardwareBatch(
            namespace="bench",
            endpoint=f"endpoint-{number % 20}",
            replica_id=f"replica-{number}",
            boot_id=f"{number:032x}",
            seq=0,
            start_us=0,
            end_us=0,
            at_us=[500_000],
            replica={name: [value] for name, value in _REPLICA.items()},
            accelerators=[gpu],
        )

    def message(self, seq: int, start_us: int) -> bytes:
        """Return the message of the second that begins then; all but limits differ from second to second."""
        (gpu,) = self._batch.accelerators
        return encode(
            replace(
                self._batch,
                seq=seq,
                start_us=start_us,
                end_us=start_us + 1_000_000,
                replica=self._readings(_REPLICA),
                accelerators=[replace(gpu, readings=self._readings(_GPU))],
            )
        )

    def _readings(self, usual: Mapping[str, float]) -> dict[str, list[Reading | None]]:
        random = self._rng.random
        return {
            name: [value if name in _LIMITS else round(value * (0.9 + 0.2 * random()), 3)]
            for name, value in usual.items()
        }
