"""GPUs: the real pynvml with a library that follows a script; and without any driver."""

from __future__ import annotations

import logging

import pynvml
import pytest
from tests.agents.hardware.nvml import library as nvml
from tests.agents.hardware.stand_in import Driver

from endpoint_analytics.agents.hardware.gpu import LOOK_FOR_LOST_AFTER, GpuCollector
from endpoint_analytics.agents.hardware.gpu_nvidia import NvidiaGpus

pytestmark = pytest.mark.outside

ONE = """
count - 1
handle 0 0
uuid 0 GPU-aaaa
name 0 H100
memory 0 10 100
use 0 40
power 0 123456
temperature 0 55
reasons 0 0x1
corrected 0 5
uncorrected 0 0
events - 1
register 0 1
"""
TWO = (
    ONE.replace("count - 1", "count - 2")
    + "handle 1 1\nuuid 1 GPU-bbbb\nname 1 A10\nmemory 1 20 200\nuse 1 7\n"
)

MIG = (
    ONE.replace("memory 0 10 100\n", "memory 0 30 100\n").replace("use 0 40\n", "")
    + """
mig_mode 0 1
mig_count 0 7
mig_handle 0.0 100
mig_handle 0.2 102
uuid 100 MIG-one
uuid 102 MIG-two
name 100 H100-MIG-1g.10gb
memory 100 4 40
memory 102 5 40
"""
)


def has_driver() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


@pytest.mark.skipif(has_driver(), reason="this machine has a GPU driver")
def test_without_a_driver_it_is_said_once(caplog):
    caplog.set_level(logging.INFO, "endpoint_analytics")
    collector = GpuCollector()
    for _ in range(3):
        assert collector.collect(0).accelerators == ()
    assert len(caplog.records) == 1
    assert "no GPU metrics" in caplog.text


@pytest.mark.skipif(not has_driver(), reason="this machine has no GPU driver")
def test_with_a_driver_every_gpu_is_read():
    accelerators = GpuCollector((NvidiaGpus({}),)).collect(0).accelerators
    assert accelerators[0].device == "gpu0"
    for accelerator in accelerators:
        assert accelerator.readings["gpu_power_watts"][0] > 0


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(library, tmp_path):
    drivers = []

    def start(script: str, *own: int, **environment: str) -> Driver:
        drivers.append(nvml.start(library, tmp_path, script, *own, **environment))
        return drivers[-1]

    yield start
    for each in drivers:
        each.close()


def devices(sample: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(each["device"], each["uuid"]) for each in sample]


def test_all_figures_of_a_gpu(driver):
    machine = driver(ONE, 77)
    machine.sample()
    machine.says(
        ONE.replace("corrected 0 5", "corrected 0 8")
        + "\nprocesses 0 77 6000 78 4000\nsamples 0 77 1000 30 78 1000 9 77 900 80"
    )
    assert machine.sample() == [
        {
            "device": "gpu0",
            "uuid": "GPU-aaaa",
            "name": "H100",
            "gpu_percent": 40.0,
            "gpu_memory_used_bytes": 10.0,
            "gpu_memory_total_bytes": 100.0,
            "gpu_power_watts": 123.456,
            "gpu_temperature_celsius": 55.0,
            "gpu_throttled_ratio": 0.0,
            "gpu_throttled_thermal_ratio": 0.0,
            "gpu_throttled_power_ratio": 0.0,
            "gpu_ecc_corrected_errors": 8,
            "gpu_ecc_uncorrected_errors": 0,
            "gpu_xid_errors": 0,
            "gpu_replica_percent": 30.0,
            "gpu_replica_memory_used_bytes": 6000.0,
        }
    ]


def test_one_gpus_error_is_null_and_stops_no_other(driver):
    first, second = driver(TWO.replace("memory 1 20 200", "memory 1 error 15")).sample()
    assert first["gpu_memory_used_bytes"] == 10.0
    assert second["gpu_memory_used_bytes"] is None
    assert second["gpu_power_watts"] is None
    assert second["gpu_percent"] == 7.0


def test_a_gpu_without_a_handle_is_left_out(driver):
    machine = driver(TWO.replace("handle 0 0", "handle 0 error 15"))
    assert devices(machine.sample()) == [("gpu1", "GPU-bbbb")]
    assert "no metrics for the NVIDIA driver's GPU 0: GPU is lost" in machine.log.read_text()


@pytest.mark.parametrize(
    ("reasons", "throttled", "thermal", "power"),
    [
        ("0x1", 0, 0, 0),  # idle
        ("0x10", 0, 0, 0),  # sync boost
        ("0x4", 1, 0, 1),
        ("0x8", 1, 0, 0),
        ("0x20", 1, 1, 0),
        ("0x48", 1, 1, 0),
        ("0x80", 1, 0, 1),
    ],
)
def test_clocks_held_down(driver, reasons, throttled, thermal, power):
    (gpu,) = driver(ONE.replace("reasons 0 0x1", f"reasons 0 {reasons}")).sample()
    found = [gpu[f"gpu_throttled{name}_ratio"] for name in ("", "_thermal", "_power")]
    assert found == [throttled, thermal, power]


def test_an_older_driver_has_another_name_for_them(driver):
    (gpu,) = driver(ONE.replace("reasons 0 0x1", "old_reasons 0 0x20")).sample()
    assert gpu["gpu_throttled_thermal_ratio"] == 1.0


def test_critical_errors_are_counted_and_named_in_the_log(driver):
    machine = driver(TWO + "register 1 error 3\n")
    assert [gpu["gpu_xid_errors"] for gpu in machine.sample()] == [0, None]
    machine.says(TWO + "register 1 error 3\nxids - 0 31 0 79\n")
    assert [gpu["gpu_xid_errors"] for gpu in machine.sample()] == [2, None]
    machine.says(TWO + "register 1 error 3\nxids - 0 31 0 79 0 13\n")
    assert [gpu["gpu_xid_errors"] for gpu in machine.sample()] == [3, None]
    assert [gpu["gpu_xid_errors"] for gpu in machine.sample()] == [3, None]
    assert "gpu0: the NVIDIA driver reports a critical error, XID 79" in machine.log.read_text()


def test_memory_as_nvidia_smi_shows_it(driver):
    """Drivers since 510 report their own reserved memory separately."""
    (gpu,) = driver(ONE + "memory_v2 0 7 100 3\n").sample()
    assert (gpu["gpu_memory_used_bytes"], gpu["gpu_memory_total_bytes"]) == (7.0, 100.0)


def test_processes_where_the_driver_does_not_report(driver):
    (gpu,) = driver(ONE, 77).sample()
    assert gpu["gpu_replica_memory_used_bytes"] is None
    assert gpu["gpu_replica_percent"] is None
    (gpu,) = driver(ONE + "processes 0 0 0\nsamples 0 77 0 0\n", 77).sample()
    assert gpu["gpu_replica_memory_used_bytes"] == 0.0
    assert gpu["gpu_replica_percent"] == 0.0
    (gpu,) = driver(ONE + "processes 0 77 0xffffffffffffffff\n", 77).sample()
    assert gpu["gpu_replica_memory_used_bytes"] is None


def test_without_knowledge_of_processes_nothing_is_reported(driver):
    (gpu,) = driver(ONE + "processes 0 77 6000\n").sample()
    assert not any(name.startswith("gpu_replica") for name in gpu)


def test_mig_instances_are_devices_of_their_own(driver):
    whole, one, two = driver(MIG).sample()
    assert devices([whole, one, two]) == [
        ("gpu0", "GPU-aaaa"),
        ("gpu0.mig0", "MIG-one"),
        ("gpu0.mig2", "MIG-two"),
    ]
    assert (one["name"], one["gpu_memory_used_bytes"], one["gpu_percent"]) == ("H100-MIG-1g.10gb", 4.0, None)
    assert "gpu_power_watts" not in one
    assert whole["gpu_power_watts"] == 123.456
    assert "gpu_memory_used_bytes" not in whole, "memory is the instances', and would be counted twice"


def test_a_mig_instance_that_is_named_is_the_only_one(driver):
    assert devices(driver(MIG, CUDA_VISIBLE_DEVICES="MIG-two").sample()) == [
        ("gpu0", "GPU-aaaa"),
        ("gpu0.mig2", "MIG-two"),
    ]
    assert driver(TWO, CUDA_VISIBLE_DEVICES="MIG-two").sample() == []


def test_only_visible_gpus_numbered_as_the_replica_sees_them(driver):
    assert devices(driver(TWO, CUDA_VISIBLE_DEVICES="1").sample()) == [("gpu0", "GPU-bbbb")]
    assert devices(driver(TWO, CUDA_VISIBLE_DEVICES="GPU-b,0").sample()) == [
        ("gpu0", "GPU-bbbb"),
        ("gpu1", "GPU-aaaa"),
    ]
    assert driver(TWO, CUDA_VISIBLE_DEVICES="").sample() == []


def test_a_gpu_that_is_taken_away_goes_from_the_list(driver):
    machine = driver(TWO)
    assert [gpu["gpu_percent"] for gpu in machine.sample()] == [40.0, 7.0]
    machine.says(ONE.replace("GPU-aaaa", "GPU-bbbb").replace("use 0 40", "use 0 9"))
    samples = [machine.sample() for _ in range(11)]
    assert devices(samples[0]) == [("gpu0", "GPU-aaaa"), ("gpu1", "GPU-bbbb")]
    assert samples[0][1]["gpu_percent"] is None
    assert devices(samples[-1]) == [("gpu1", "GPU-bbbb")], "what is left keeps its name"
    assert samples[-1][0]["gpu_percent"] == 9.0
    assert "gpu0 is gone" in machine.log.read_text()


def test_a_gpu_that_comes_back_has_the_name_of_before(driver):
    """The only GPU is reset, which takes longer than one lookup."""
    machine = driver(ONE)
    machine.sample()
    machine.says("count - 0")
    assert [machine.sample() for _ in range(12)][-1] == []
    machine.says(ONE.replace("use 0 40", "use 0 3"))
    samples = [machine.sample() for _ in range(LOOK_FOR_LOST_AFTER)]
    assert samples[0] == []
    (gpu,) = samples[-1]
    assert (gpu["device"], gpu["gpu_percent"]) == ("gpu0", 3.0)
    log = machine.log.read_text()
    assert log.count("gpu0 is gone") == log.count("gpu0 is back") == 1


def test_container_runtime_variables_are_ignored(driver):
    """Containers that get GPUs through the Container Device Interface have `void`."""
    assert devices(driver(ONE, NVIDIA_VISIBLE_DEVICES="void").sample()) == [("gpu0", "GPU-aaaa")]


def test_a_driver_that_cannot_start(driver):
    machine = driver("init - error 9")
    assert machine.sample() == []
    assert machine.sample() == []
    assert machine.log.read_text().count("Driver Not Loaded") == 1
