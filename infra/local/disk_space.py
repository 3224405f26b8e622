"""Room on the disk of the data: when it is short, when there is none, and what is said of it.

The rule is pure; `read_room` alone asks the system. While there is no room nothing is started: Kafka cannot begin on a
full disk, and what failed for want of room has not failed on its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MIB = 1024**2
SHORT_BYTES = 512 * MIB
FULL_BYTES = 64 * MIB
"""Kafka and ClickHouse write in pieces of some megabytes: with less, one of them finds the disk full."""
SLACK = 1.5
"""By how much more than a limit must be free before the worse state is over: it is not said again and again."""
FULL_FILES = 100

State = Literal["ample", "short", "full"]


@dataclass(frozen=True, slots=True)
class Room:
    """What is free to us on a file system. `files` is None where it has no limit of its own."""

    free_bytes: int
    files: int | None = None


def read_room(directory: Path) -> Room:
    """Return the room where a directory lies; raises OSError."""
    found = os.statvfs(directory)
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def state_after(before: State, room: Room) -> State:
    """Return the state that a reading leads to."""

    def is_less_than(limit_bytes: int, *, already: bool) -> bool:
        return room.free_bytes < limit_bytes * (SLACK if already else 1)

    no_files = room.files is not None and room.files < FULL_FILES
    if no_files or is_less_than(FULL_BYTES, already=before == "full"):
        return "full"
    return "short" if is_less_than(SHORT_BYTES, already=before != "ample") else "ample"


def words_for(before: State, after: State, room: Room, directory: Path) -> str:
    """Return what is to be said of a change; nothing where there was none."""
    free = f"{room.free_bytes / MIB:.0f} MiB"
    if room.files is not None and room.files < FULL_FILES:
        free += f" and {room.files} files"
    if after == before:
        return ""
    if after == "full":
        return (
            f"the disk of {directory} is full: {free} are left. Nothing acknowledged is lost; what cannot be stored "
            "waits, and agents count what they must drop. Make room there: all goes on by itself"
        )
    if before == "full":
        return f"there is room again on the disk of {directory}: {free}"
    if after == "short":
        return f"the disk of {directory} is nearly full: {free} are left. Make room before it is"
    return ""
