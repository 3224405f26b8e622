"""How much of a GPU the replica's own processes use, where the driver reports processes.

The driver uses process ids of the machine's initial pid namespace, so a container with its own namespace cannot
recognize its processes: then nothing is reported. Own processes are those in this control group and session.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from endpoint_analytics.agents.hardware.gpu_nvidia_library import value_of

FIRST_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h."""


def knows_processes() -> bool:
    """Whether this process sees the same pids as the driver."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == FIRST_NAMESPACE
    except OSError:
        return False


def is_own(pid: int) -> bool:
    """Whether the process is in this process's control group and session."""
    try:
        return os.getsid(pid) == os.getsid(0) and (
            Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
        )
    except OSError:
        return False


def read_memory_bytes(handle: Any, own: Callable[[int], bool]) -> float | None:
    """Return the GPU memory of own processes; None if the driver does not report it for each."""
    processes = value_of("nvmlDeviceGetComputeRunningProcesses_v3", handle)
    if processes is None:
        return None
    used = [process.usedGpuMemory for process in processes if own(process.pid)]
    return None if None in used else float(sum(used))


def read_percent(handle: Any, since_us: int, own: Callable[[int], bool]) -> tuple[float | None, int]:
    """Return the percentage of time in which own processes kept the GPU busy, and the time of the newest sample.

    For each process, the newest sample after `since_us` on the driver's clock counts.
    """
    import pynvml

    try:
        samples = pynvml.nvmlDeviceGetProcessUtilization(handle, since_us)
    except pynvml.NVMLError as error:
        # "not found": no process has used it since; pynvml also raises "success" for an empty result.
        idle = error.value in (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_SUCCESS)
        return (0.0 if idle else None), since_us
    newest: dict[int, Any] = {}
    for sample in samples:
        if sample.pid not in newest or sample.timeStamp > newest[sample.pid].timeStamp:
            newest[sample.pid] = sample
    percent = sum(sample.smUtil for pid, sample in newest.items() if own(pid))
    return min(float(percent), 100.0), max([since_us, *(sample.timeStamp for sample in samples)])
