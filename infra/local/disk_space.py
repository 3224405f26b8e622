"""Disk space of the data directory: when it is low, when it runs out, and the messages about it.

The rule is pure; only `read_free_space` queries the system. While the disk is full nothing is started: Kafka cannot
start on a full disk, and a part that failed for lack of space has no fault of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MIB = 1024**2
SHORT_BYTES = 512 * MIB
FULL_BYTES = 64 * MIB
"""Kafka and ClickHouse write in chunks of a few megabytes: with less than this, one of them finds the disk full."""
SLACK = 1.5
"""How many times a limit must be free before the worse state ends, so that the message is not repeated (hysteresis)."""
FULL_FILES = 100

State = Literal["ample", "short", "full"]


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Space available to this user on a file system. `files` is None if the file system does not limit their number."""

    free_bytes: int
    files: int | None = None


def read_free_space(directory: Path) -> FreeSpace:
    """Return the space on the file system of a directory; raises OSError."""
    found = os.statvfs(directory)
    return FreeSpace(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def state_after(before: State, space: FreeSpace) -> State:
    """Return the state that a reading leads to."""

    def is_less_than(limit_bytes: int, *, already: bool) -> bool:
        return space.free_bytes < limit_bytes * (SLACK if already else 1)

    no_files = space.files is not None and space.files < FULL_FILES
    if no_files or is_less_than(FULL_BYTES, already=before == "full"):
        return "full"
    return "short" if is_less_than(SHORT_BYTES, already=before != "ample") else "ample"


def message_for(before: State, after: State, space: FreeSpace, directory: Path) -> str:
    """Return the message about a change of state, "" if there was none."""
    free = f"{space.free_bytes / MIB:.0f} MiB"
    if space.files is not None and space.files < FULL_FILES:
        free += f" and {space.files} files"
    if after == before:
        return ""
    if after == "full":
        return (
            f"the disk of {directory} is full: {free} left. Nothing acknowledged is lost; data that cannot be stored "
            "waits, and agents count what they must drop. Free some space: everything then continues by itself"
        )
    if before == "full":
        return f"the disk of {directory} has space again: {free} free"
    if after == "short":
        return f"the disk of {directory} is nearly full: {free} left. Free some space before it fills up"
    return ""
