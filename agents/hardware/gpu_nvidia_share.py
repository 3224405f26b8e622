"""What of a GPU the replica's own processes use, where the driver tells of processes.

The driver names processes as the machine's first pid namespace does, so that a container with a namespace of its
own cannot know which are its own: then nothing is told. Own processes are those of this control group and session.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from endpoint_analytics.agents.hardware.gpu_nvidia_library import value_of

FIRST_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h."""


def knows_processes() -> bool:
    """Whether this process's pids are the driver's."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == FIRST_NAMESPACE
    except OSError:
        return False


def is_own(pid: int) -> bool:
    """Whether the process is of the control group and session of this one."""
    try:
        return os.getsid(pid) == os.getsid(0) and (
            Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
        )
    except OSError:
        return False


def read_memory_bytes(handle: Any, own: Callable[[int], bool]) -> float | None:
    """Return the GPU memory of own processes, None when the driver does not tell it of each."""
    processes = value_of("nvmlDeviceGetComputeRunningProcesses_v3", handle)
    if processes is None:
        return None
    used = [process.usedGpuMemory for process in processes if own(process.pid)]
    return None if None in used else float(sum(used))


def read_percent(handle: Any, since_us: int, own: Callable[[int], bool]) -> tuple[float | None, int]:
    """Return the share of time in which own processes kept the GPU busy, and until when that is known.

    Of each process its newest sample after `since_us` of the driver's clock counts.
    """
    import pynvml

    try:
        samples = pynvml.nvmlDeviceGetProcessUtilization(handle, since_us)
    except pynvml.NVMLError as error:
        # "not found": no process has used it since; pynvml raises success, too, for an empty answer.
        idle = error.value in (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_SUCCESS)
        return (0.0 if idle else None), since_us
    newest: dict[int, Any] = {}
    for sample in samples:
        if sample.pid not in newest or sample.timeStamp > newest[sample.pid].timeStamp:
            newest[sample.pid] = sample
    percent = sum(sample.smUtil for pid, sample in newest.items() if own(pid))
    return min(float(percent), 100.0), max([since_us, *(sample.timeStamp for sample in samples)])
