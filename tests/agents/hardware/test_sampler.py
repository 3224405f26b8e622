"""The sampler: composes what is read, survives what fails, and makes valid batches each second."""

from __future__ import annotations

import itertools
import threading

from endpoint_analytics.agents.hardware.reading import Reading
from endpoint_analytics.agents.hardware.sampler import (
    HardwareThread,
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
    first, last = Fixed(Reading({"cpu_percent": 1.0})), Fixed(Reading({"memory_used_bytes": 2}, (GPU,)))
    sampler = Sampler([first, Broken(), last])
    for _ in range(3):
        reading = sampler.sample(0)
        assert reading == Reading({"cpu_percent": 1.0, "memory_used_bytes": 2}, (GPU,))
    assert caplog.text.count("no such sensor") == 1


def test_the_machine_itself_makes_a_valid_batch(make_config):
    sampler = Sampler(default_collectors())
    sampler.sample(1_000_000_000)
    reading = sampler.sample(2_000_000_000)
    batch = make_batch(make_config(), "boot-1", 7, 10**9, 2 * 10**9, 1_700_000_000_000_000, reading)
    assert decode_hardware(encode(batch)) == batch
    assert batch.at_us == [1_000_000]
    assert batch.end_us - batch.start_us == 1_000_000
    assert set(batch.replica) == {metric.name for metric in HARDWARE_METRICS if not metric.per_device}


def test_the_thread_samples_with_seqs_of_its_own_and_ends(make_config):
    batches, enough = [], threading.Event()

    def post(batch):
        batches.append(batch)
        if len(batches) == 3:
            enough.set()

    thread = HardwareThread(make_config(), "boot-1", [Fixed(Reading({"cpu_percent": 1.0}))], post, 0.01)
    thread.start()
    assert enough.wait(10)
    thread.stop()
    thread._thread.join(10)
    assert not thread._thread.is_alive()
    assert [batch.seq for batch in batches] == list(range(len(batches)))
    for before, after in itertools.pairwise(batches):
        assert after.start_us == before.end_us


def test_an_agent_that_is_gone_ends_the_thread(make_config):
    def post(batch):
        raise RuntimeError("Event loop is closed")

    thread = HardwareThread(make_config(), "boot-1", [], post, 0.01)
    thread.start()
    thread._thread.join(10)
    assert not thread._thread.is_alive()
