"""The sampler: composes what is read, survives what fails, and makes valid batches each second."""

from __future__ import annotations

from endpoint_analytics.agents.core.sampling import Interval
from endpoint_analytics.agents.hardware.reading import HardwareReading
from endpoint_analytics.agents.hardware.sampler import (
    Sampler,
    default_collectors,
    make_batch,
)
from endpoint_analytics.schemas.codec import decode_hardware, encode
from endpoint_analytics.schemas.hardware import Accelerator
from endpoint_analytics.schemas.metrics import HARDWARE_METRICS


class Fixed:
    def __init__(self, reading):
        self.reading = reading

    def collect(self, at_ns):
        return self.reading


class Broken:
    def collect(self, at_ns):
        raise RuntimeError("no such sensor")


GPU = Accelerator(device="gpu0", readings={"gpu_percent": [1.0]})


def test_one_collectors_failure_is_said_once_and_stops_no_other(caplog):
    first, last = (
        Fixed(HardwareReading({"cpu_percent": 1.0})),
        Fixed(HardwareReading({"memory_used_bytes": 2}, (GPU,))),
    )
    sampler = Sampler([first, Broken(), last])
    for _ in range(3):
        reading = sampler.sample(0)
        assert reading == HardwareReading({"cpu_percent": 1.0, "memory_used_bytes": 2}, (GPU,))
    assert caplog.text.count("no such sensor") == 1


def test_the_machine_itself_makes_a_valid_batch(make_config):
    sampler = Sampler(default_collectors())
    sampler.sample(1_000_000_000)
    reading = sampler.sample(2_000_000_000)
    batch = make_batch(make_config(), "boot-1", Interval(7, 10**15, 10**15 + 1_000_000), reading)
    assert decode_hardware(encode(batch)) == batch
    assert batch.at_us == [1_000_000]
    assert batch.end_us - batch.start_us == 1_000_000
    assert set(batch.replica) == {metric.name for metric in HARDWARE_METRICS if not metric.per_device}
