"""GPUs: the real library without a driver; a library that answers, and one whose GPUs fail, in its place.

No machine of the tests has a GPU, so the driver's answers are stood in for at the library's own functions.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pynvml
import pytest

from endpoint_analytics.agents.hardware.gpu import GpuCollector


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
    assert "no GPU figures" in caplog.text


@pytest.mark.skipif(not has_driver(), reason="this machine has no GPU driver")
def test_with_a_driver_every_gpu_is_read():
    accelerators = GpuCollector().collect(0).accelerators
    assert [accelerator.device for accelerator in accelerators] == [
        f"gpu{index}" for index in range(pynvml.nvmlDeviceGetCount())
    ]
    for accelerator in accelerators:
        assert accelerator.readings["gpu_memory_total_bytes"][0] > 0


@pytest.fixture
def library(monkeypatch):
    """The library's functions, answering for three GPUs: the second is lost, the third tells no power."""

    def answer(name, value):
        def read(handle, *_):
            if handle == 1 or (handle == 2 and name == "nvmlDeviceGetPowerUsage"):
                raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
            return value(handle)

        monkeypatch.setattr(pynvml, name, read)

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 3)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    answer("nvmlDeviceGetUUID", lambda handle: f"GPU-{handle}")
    answer("nvmlDeviceGetName", lambda handle: b"NVIDIA H100")
    answer("nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(used=10 + handle, total=100))
    answer("nvmlDeviceGetUtilizationRates", lambda handle: SimpleNamespace(gpu=40 + handle, memory=1))
    answer("nvmlDeviceGetPowerUsage", lambda handle: 123_456)
    answer("nvmlDeviceGetTemperature", lambda handle: 55)


def test_one_gpus_error_is_null_and_stops_no_other(library):
    first, lost, last = GpuCollector().collect(0).accelerators
    assert (first.device, first.uuid, first.name) == ("gpu0", "GPU-0", "NVIDIA H100")
    assert first.readings == {
        "gpu_percent": [40.0],
        "gpu_memory_used_bytes": [10.0],
        "gpu_memory_total_bytes": [100.0],
        "gpu_power_watts": [123.456],
        "gpu_temperature_celsius": [55.0],
    }
    assert (lost.device, lost.uuid, lost.name) == ("gpu1", "", "")
    assert set(map(tuple, lost.readings.values())) == {(None,)}
    assert last.readings["gpu_power_watts"] == [None]
    assert last.readings["gpu_percent"] == [42.0]


def test_a_gpu_without_a_handle_is_left_out(library, monkeypatch):
    def handle(index):
        if index == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
        return index

    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", handle)
    assert [accelerator.device for accelerator in GpuCollector().collect(0).accelerators] == ["gpu1", "gpu2"]
