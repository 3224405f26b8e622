"""Disk: bytes read and written since the previous sample: the control group's (version 2), else the machine's.

Version 1 counts a group's bytes only where they are throttled; otherwise its files are always 0. Bytes of stacked
devices (md, LVM) are counted once: `stacked_devices` decides which devices count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil

from endpoint_analytics.agents.hardware.cgroup import ControlGroup, OwnCgroup
from endpoint_analytics.agents.hardware.reading import Delta, HardwareReading
from endpoint_analytics.agents.hardware.stacked_devices import (
    BLOCK,
    DEVICES,
    Disk,
    add_up_once,
    disk_number,
    read_disks,
)
from endpoint_analytics.agents.hardware.system_files import SystemFiles
from endpoint_analytics.schemas.metrics import DISK_READ_BYTES, DISK_WRITTEN_BYTES


class Moved(NamedTuple):
    """The bytes read from and written to one device."""

    read: int = 0
    written: int = 0


@dataclass(slots=True)
class DiskCollector:
    """Counts only I/O that reaches a device: not reads from the page cache."""

    own: OwnCgroup = field(default_factory=OwnCgroup)
    _read: Delta = field(default_factory=Delta)
    _written: Delta = field(default_factory=Delta)
    _disks: dict[str, Disk] = field(default_factory=dict)

    def collect(self, at_ns: int) -> HardwareReading:  # noqa: ARG002  # the Collector's signature
        """Return `disk_read_bytes` and `disk_written_bytes`; None for the first sample or without disks."""
        group = self.own.read().disk
        moved = read_machine_bytes() if group is None else read_group_bytes(self.own.files, group)
        read, written = (None, None) if moved is None else self._add_up(moved)
        return HardwareReading(
            replica={
                DISK_READ_BYTES.name: self._read.since_last(read, group),
                DISK_WRITTEN_BYTES.name: self._written.since_last(written, group),
            }
        )

    def _add_up(self, moved: Mapping[str, Moved]) -> tuple[int, int]:
        if moved.keys() != self._disks.keys():  # a device's stacking is fixed when it is created
            machine = self.own.machine
            block, devices = (machine / path.relative_to("/") for path in (BLOCK, DEVICES))
            self._disks = read_disks(moved.keys(), block, devices)
        read = add_up_once({number: each.read for number, each in moved.items()}, self._disks)
        return read, add_up_once({number: each.written for number, each in moved.items()}, self._disks)


def read_group_bytes(files: SystemFiles, group: ControlGroup) -> dict[str, Moved] | None:
    """Return the bytes of each device since the group was created; None if unreadable."""
    text = files.text(group.own / "io.stat")
    return None if text is None else parse_io_stat(text)


def read_machine_bytes(block: Path = Path("/sys/class/block")) -> dict[str, Moved] | None:
    """Return the bytes of each disk since boot; None without disks."""
    counters = psutil.disk_io_counters(perdisk=True, nowrap=True)
    if not counters:
        return None
    moved = {name: Moved(each.read_bytes, each.write_bytes) for name, each in counters.items()}
    numbered = {number: each for name, each in moved.items() if (number := disk_number(block / name))}
    if numbered or block.exists():
        return numbered or None
    return moved  # a system without sysfs


def parse_io_stat(text: str) -> dict[str, Moved]:
    """Return `rbytes=` and `wbytes=` of each device in a version 2 io.stat, by device number (`259:0`)."""
    moved = {}
    for line in text.splitlines():
        words = line.split()
        fields = dict(word.split("=", 1) for word in words if "=" in word)
        if fields:
            moved[words[0]] = Moved(int(fields.get("rbytes", 0)), int(fields.get("wbytes", 0)))
    return moved
