"""Disk: bytes read and written since the sample before: the control group's (version 2), else the machine's.

Version 1 counts a group's bytes only where they are throttled; elsewhere its files say 0 whatever was read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import psutil

from endpoint_analytics.agents.hardware.cgroup import Group, OwnCgroup
from endpoint_analytics.agents.hardware.reading import Delta, Reading
from endpoint_analytics.agents.hardware.system_files import SystemFiles
from endpoint_analytics.schemas.metrics import DISK_READ_BYTES, DISK_WRITTEN_BYTES


@dataclass(slots=True)
class DiskCollector:
    """Only what reaches a device counts: reads from the page cache do not."""

    own: OwnCgroup = field(default_factory=OwnCgroup)
    _read: Delta = field(default_factory=Delta)
    _written: Delta = field(default_factory=Delta)

    def collect(self, at_ns: int) -> Reading:  # noqa: ARG002  # the Collector's signature
        """Return `disk_read_bytes` and `disk_written_bytes`; None at the first sample or without disks."""
        group = self.own.read().disk
        read, written = read_machine_bytes() if group is None else read_group_bytes(self.own.files, group)
        return Reading(
            replica={
                DISK_READ_BYTES.name: self._read.since_last(read, group),
                DISK_WRITTEN_BYTES.name: self._written.since_last(written, group),
            }
        )


def read_group_bytes(files: SystemFiles, group: Group) -> tuple[int | None, int | None]:
    """Return the bytes read and written since the group began; None where it cannot be read."""
    text = files.text(group.own / "io.stat")
    return (None, None) if text is None else parse_io_stat(text)


def read_machine_bytes() -> tuple[int | None, int | None]:
    """Return the bytes read and written since the machine's start; None without disks."""
    counters = psutil.disk_io_counters(nowrap=True)
    return (None, None) if counters is None else (counters.read_bytes, counters.write_bytes)


def parse_io_stat(text: str) -> tuple[int, int]:
    """Return the sums of `rbytes=` and `wbytes=` over all devices of version 2's io.stat."""
    pairs = [word.partition("=") for word in text.split() if "=" in word]
    read = sum(int(value) for name, _, value in pairs if name == "rbytes")
    return read, sum(int(value) for name, _, value in pairs if name == "wbytes")
