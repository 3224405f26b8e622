"""Disk: bytes read and written since the sample before: the control group's (version 2), else the machine's."""

from __future__ import annotations

from dataclasses import dataclass, field

import psutil

from endpoint_analytics.agents.hardware.cgroup import Cgroup, read_cgroup, read_text
from endpoint_analytics.agents.hardware.reading import Delta, Reading
from endpoint_analytics.schemas.metrics import DISK_READ_BYTES, DISK_WRITTEN_BYTES


@dataclass(slots=True)
class DiskCollector:
    """Only what reaches a device counts: reads from the page cache do not."""

    cgroup: Cgroup | None = field(default_factory=read_cgroup)
    _read: Delta = field(default_factory=Delta)
    _written: Delta = field(default_factory=Delta)

    def collect(self, at_ns: int) -> Reading:  # noqa: ARG002  # the Collector's signature
        """Return `disk_read_bytes` and `disk_written_bytes`; None at the first sample or without disks."""
        read, written = read_disk_bytes(self.cgroup)
        return Reading(
            replica={
                DISK_READ_BYTES.name: self._read.since_last(read),
                DISK_WRITTEN_BYTES.name: self._written.since_last(written),
            }
        )


def read_disk_bytes(cgroup: Cgroup | None) -> tuple[int | None, int | None]:
    """Return the bytes read and written since the group's, or the machine's, start."""
    if cgroup is not None and cgroup.version == 2 and cgroup.memory:
        text = read_text(cgroup.memory[0], "io.stat")
        if text is not None:
            return parse_io_stat(text)
    counters = psutil.disk_io_counters(nowrap=True)
    return (None, None) if counters is None else (counters.read_bytes, counters.write_bytes)


def parse_io_stat(text: str) -> tuple[int, int]:
    """Return the sums of `rbytes=` and `wbytes=` over all devices of io.stat."""
    pairs = [word.partition("=") for word in text.split() if "=" in word]
    read = sum(int(value) for name, _, value in pairs if name == "rbytes")
    return read, sum(int(value) for name, _, value in pairs if name == "wbytes")
