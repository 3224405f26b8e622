"""Whether the kernel's OOM killer ran while the server did: SIGKILL alone does not say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from endpoint_analytics.agents.hardware.cgroup import OwnCgroup
from endpoint_analytics.agents.hardware.memory import VMSTAT, read_oom_kills


@dataclass(slots=True)
class OomWatch:
    """Watches from its creation. `vmstat` is for tests."""

    own: OwnCgroup = field(default_factory=OwnCgroup)
    vmstat: Path = VMSTAT
    _before: int | None = None

    def __post_init__(self) -> None:
        self._before = self._count()

    def has_killed(self) -> bool | None:
        """Return whether the OOM killer killed a process of the control group; None if unknown.

        Without a group only the machine's count is available: it can show that nothing was killed, but not what was.
        """
        before, now = self._before, self._count()
        if before is None or now is None:
            return None
        if now <= before:
            return False
        return True if self.own.read().memory is not None else None

    def _count(self) -> int | None:
        group = self.own.read().memory
        if group is None:
            return self.own.files.table(self.vmstat).get("oom_kill")
        return read_oom_kills(self.own.files, group)
