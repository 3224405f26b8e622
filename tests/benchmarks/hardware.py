"""The cost of a hardware sample: wall-clock and CPU time, and the share of a core at one sample per second.

- container: CPU, memory, pressure, disk and network of this machine's control groups; the peer is psutil's figures of
  the machine (cpu_percent, virtual_memory, net_io_counters, disk_io_counters).
- GPUs: eight, through the real modules (pynvml, amdsmi) on the libraries that replace the drivers in tests. These read
  a script file at each call, so this is the cost of our side and Python's, with some of theirs; a real driver adds its
  own time, which cannot be measured without one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from tests.agents.hardware.amd_smi import library as amd_smi
from tests.agents.hardware.nvml import library as nvml
from tests.benchmarks.results import Figure

from endpoint_analytics.agents.core.clock import now_ns
from endpoint_analytics.agents.hardware.gpu import GpuCollector
from endpoint_analytics.agents.hardware.gpu_amd import AmdGpus
from endpoint_analytics.agents.hardware.gpu_nvidia import NvidiaGpus
from endpoint_analytics.agents.hardware.sampler import Sampler, default_collectors

GPUS, SAMPLES = 8, 200

NVIDIA = "\n".join(
    ["count - 8", "events - 1"]
    + [
        f"handle {n} {n}\nuuid {n} GPU-{n}\nname {n} H100\nmemory_v2 {n} 10 100 1\nuse {n} 40\npower {n} 500000\n"
        f"temperature {n} 55\nreasons {n} 0x1\ncorrected {n} 0\nuncorrected {n} 0\nregister {n} 1\n"
        f"processes {n} 77 6000\nsamples {n} 77 1000 30"
        for n in range(GPUS)
    ]
)
AMD = "\n".join(
    [f"gpus - {' '.join(map(str, range(GPUS)))}"]
    + [
        f"enumeration {n} {128 + n} {n} GPU-{n}\nuuid {n} a{n}\nname {n} MI300X\nmemory {n} 10 100\nerrors {n} 0 0\n"
        f"metrics {n} temperature_hotspot 61 average_gfx_activity 42 current_socket_power 712 accumulation_counter 9"
        for n in range(GPUS)
    ]
)


def measure(sample: Callable[[], object], samples: int = SAMPLES) -> tuple[float, float]:
    """Return the median wall-clock time and the mean CPU time of one sample, in milliseconds."""
    sample()
    walls, began = [], time.process_time()
    for _ in range(samples):
        start = time.perf_counter()
        sample()
        walls.append(time.perf_counter() - start)
    return statistics.median(walls) * 1e3, (time.process_time() - began) / samples * 1e3


def report(name: str, figures: tuple[float, float]) -> None:
    wall_ms, processor_ms = figures
    print(
        f"{name:<34} {wall_ms:7.3f} ms   processor {processor_ms:7.3f} ms = {processor_ms / 10:.3f} % of a core at 1 Hz"
    )


def in_process() -> None:
    """Measure the GPUs of the library that the environment names, and print the figures as JSON."""
    which, devices = sys.argv[1:]
    vendor = (
        AmdGpus(os.environ, Path(devices)) if which == "amd" else NvidiaGpus(os.environ, {77}.__contains__)
    )
    collector = GpuCollector((vendor,))
    assert len(collector.collect(0).accelerators) == GPUS
    print(json.dumps(measure(lambda: collector.collect(0))))


def of_gpus(which: str, script: str, directory: Path) -> tuple[float, float]:
    (directory / "script").write_text(script + "\n")
    (directory / "dev/dri").mkdir(parents=True)
    for node in ("kfd", *(f"dri/renderD{128 + n}" for n in range(GPUS))):
        (directory / "dev" / node).touch()
    library = amd_smi.build(directory) if which == "amd" else nvml.build(directory)
    variables = {"ROCM_PATH": str(library), "LD_LIBRARY_PATH": str(library)}
    scripts = dict.fromkeys(("NVML_SCRIPT", "AMDSMI_SCRIPT"), str(directory / "script"))
    code = "from tests.benchmarks.hardware import in_process; in_process()"
    output = subprocess.run(
        [sys.executable, "-c", code, which, str(directory / "dev")],
        env=os.environ | variables | scripts,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    wall_ms, processor_ms = json.loads(output)
    return wall_ms, processor_ms


def main() -> list[Figure]:
    """Print the figures."""
    sampler = Sampler(default_collectors()[:-1])
    ours = measure(lambda: sampler.sample(now_ns()))
    report("container: all but GPUs", ours)

    def peer() -> None:
        psutil.cpu_percent()
        psutil.virtual_memory()
        psutil.net_io_counters(pernic=True)
        psutil.disk_io_counters()

    theirs = measure(peer)
    report("psutil: the machine's figures", theirs)
    for which, script in (("nvidia", NVIDIA), ("amd", AMD)):
        with tempfile.TemporaryDirectory() as directory:
            report(f"{GPUS} GPUs, {which}, stand-in", of_gpus(which, script, Path(directory)))
    name = "a sample of hardware, wall time"
    return [
        Figure(name, ours[0], "ms", "a container, no GPU"),
        Figure(name, theirs[0], "ms", "the machine", "psutil"),
    ]


if __name__ == "__main__":
    main()
