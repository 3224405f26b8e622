"""Memory: what the replica's control group uses, page cache that can go left out, and its limit."""

from __future__ import annotations

from dataclasses import dataclass, field

import psutil

from endpoint_analytics.agents.hardware.cgroup import (
    Cgroup,
    parse_table,
    read_cgroup,
    read_number,
    read_text,
)
from endpoint_analytics.agents.hardware.reading import Reading
from endpoint_analytics.schemas.metrics import MEMORY_LIMIT_BYTES, MEMORY_USED_BYTES


@dataclass(slots=True)
class MemoryCollector:
    """The group's figures, else the machine's. `machine_bytes` is for tests."""

    cgroup: Cgroup | None = field(default_factory=read_cgroup)
    machine_bytes: int = field(default_factory=lambda: int(psutil.virtual_memory().total))

    def collect(self, at_ns: int) -> Reading:  # noqa: ARG002  # the Collector's signature
        """Return `memory_used_bytes` and `memory_limit_bytes`; a limit is never above the machine's memory."""
        used = read_used_bytes(self.cgroup)
        if used is None:
            memory = psutil.virtual_memory()
            used, limit = int(memory.total - memory.available), self.machine_bytes
        else:
            limit = min(read_limit_bytes(self.cgroup) or self.machine_bytes, self.machine_bytes)
        return Reading(replica={MEMORY_USED_BYTES.name: used, MEMORY_LIMIT_BYTES.name: limit})


def read_used_bytes(cgroup: Cgroup | None) -> int | None:
    """Return what the group uses without its inactive file pages; None when it does not tell."""
    if cgroup is None or not cgroup.memory:
        return None
    folder = cgroup.memory[0]
    table = parse_table(read_text(folder, "memory.stat") or "")
    if cgroup.version == 2:
        used, cache = read_number(folder, "memory.current"), table.get("inactive_file", 0)
    else:
        used, cache = read_number(folder, "memory.usage_in_bytes"), table.get("total_inactive_file", 0)
    return None if used is None else max(used - cache, 0)


def read_limit_bytes(cgroup: Cgroup | None) -> int | None:
    """Return the lowest limit of the group and those above it; None when there is none."""
    if cgroup is None:
        return None
    name = "memory.max" if cgroup.version == 2 else "memory.limit_in_bytes"
    limits = (read_number(folder, name) for folder in cgroup.memory)
    return min((limit for limit in limits if limit is not None and limit >= 0), default=None)
