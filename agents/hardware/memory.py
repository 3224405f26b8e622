"""Memory: the replica's control group's usage without reclaimable page cache, its limit, and its OOM kills.

"Used" is the working set as in the kubelet and cAdvisor: usage minus inactive file pages. Without a group, the
machine's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import psutil

from endpoint_analytics.agents.hardware.cgroup import ControlGroup, OwnCgroup
from endpoint_analytics.agents.hardware.reading import HardwareReading
from endpoint_analytics.agents.hardware.system_files import SystemFiles
from endpoint_analytics.schemas.metrics import (
    MEMORY_LIMIT_BYTES,
    MEMORY_LIMIT_HITS,
    MEMORY_USED_BYTES,
    OOM_KILLS,
)

VMSTAT = Path("/proc/vmstat")


@dataclass(slots=True)
class MemoryCollector:
    """Reads the process's control group. `machine_bytes` and `vmstat` are for tests."""

    own: OwnCgroup = field(default_factory=OwnCgroup)
    machine_bytes: int = field(default_factory=lambda: int(psutil.virtual_memory().total))
    vmstat: Path = VMSTAT

    def collect(self, at_ns: int) -> HardwareReading:  # noqa: ARG002  # the Collector's signature
        """Return `memory_used_bytes`, `memory_limit_bytes` (at most the machine's memory), and two counts since the
        group was created (or the machine booted): `oom_kills` and, for a group, `memory_limit_hits`.
        """
        files, group = self.own.files, self.own.read().memory
        if group is None:
            memory = psutil.virtual_memory()
            used: int | None = int(memory.total - memory.available)
            limit, hits = self.machine_bytes, None
            kills = files.table(self.vmstat).get("oom_kill")
        else:
            used, limit = read_used_bytes(files, group), read_limit_bytes(files, group, self.machine_bytes)
            hits, kills = read_limit_hits(files, group), read_oom_kills(files, group)
        return HardwareReading(
            replica={
                MEMORY_USED_BYTES.name: used,
                MEMORY_LIMIT_BYTES.name: limit,
                MEMORY_LIMIT_HITS.name: hits,
                OOM_KILLS.name: kills,
            }
        )


def read_used_bytes(files: SystemFiles, group: ControlGroup) -> int | None:
    """Return the group's usage without its inactive file pages; None if unknown."""
    if group.version == 2:
        usage, cache = "memory.current", "inactive_file"
    else:
        usage, cache = "memory.usage_in_bytes", "total_inactive_file"
    used = files.number(group.own / usage)
    inactive = files.table(group.own / "memory.stat").get(cache)
    return None if used is None or inactive is None else max(used - inactive, 0)


def read_limit_bytes(files: SystemFiles, group: ControlGroup | None, machine_bytes: int) -> int:
    """Return the lowest limit of the group and its ancestors, at most the machine's memory.

    Version 1 also reports the limits of invisible ancestors; its largest number means no limit.
    """
    if group is None:
        return machine_bytes
    name = "memory.max" if group.version == 2 else "memory.limit_in_bytes"
    limits = [files.number(directory / name) for directory in group.directories]
    if group.version == 1:
        limits.append(files.table(group.own / "memory.stat").get("hierarchical_memory_limit"))
    return min([machine_bytes, *(limit for limit in limits if limit is not None and limit >= 0)])


def read_oom_kills(files: SystemFiles, group: ControlGroup) -> int | None:
    """Return how many processes of the group the OOM killer has killed, for the group's limit or the machine's.

    Descendant groups count too; version 2 sums them up (`memory.events`, not `memory.events.local`).
    """
    name = "memory.events" if group.version == 2 else "memory.oom_control"
    return files.table(group.own / name).get("oom_kill")


def read_limit_hits(files: SystemFiles, group: ControlGroup) -> int | None:
    """Return how often the group's usage hit its limit, so that pages had to be reclaimed."""
    if group.version == 2:
        return files.table(group.own / "memory.events").get("max")
    return files.number(group.own / "memory.failcnt")
