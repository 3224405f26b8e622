"""Reading the kernel's small files: one that cannot be read is said once, and the figures of others go on.

Only reading and the two shapes that many files have belong here; what a file means is told where it is used.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

logger = logging.getLogger("endpoint_analytics")

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV)
_OFF = (errno.EOPNOTSUPP, errno.EINVAL)
"""A kernel that was started without the feature has the file and says this."""

_AT_ONCE = 65_536


class SystemFiles:
    """Reads files anew each time. A file that was never there is nothing to say: kernels differ."""

    def __init__(self) -> None:
        self._seen: set[Path] = set()
        self._told: set[Path] = set()

    def text(self, path: Path) -> str | None:
        """Return what is in the file; None when it cannot be read."""
        try:
            text = _read(path)
        except OSError as error:
            self._tell(path, error)
            return None
        self._seen.add(path)
        self._told.discard(path)
        return text.decode(errors="replace")

    def number(self, path: Path) -> int | None:
        """Return the number in the file; None when it cannot be read or says `max`."""
        return parse_number(self.text(path))

    def table(self, path: Path) -> dict[str, int]:
        """Return the `name number` lines of the file; none when it cannot be read."""
        return parse_table(self.text(path) or "")

    def _tell(self, path: Path, error: OSError) -> None:
        never_there = error.errno in _NOT_THERE and path not in self._seen
        if never_there or error.errno in _OFF or path in self._told:
            return
        self._told.add(path)
        logger.warning("%s cannot be read, what it tells is missing: %s", path, error.strerror)


def parse_number(text: str | None) -> int | None:
    """Return the whole number that the text is, None when it is none."""
    stripped = "" if text is None else text.strip()
    return int(stripped) if stripped.removeprefix("-").isdecimal() else None


def parse_table(text: str) -> dict[str, int]:
    """Return the `name number` lines of cpu.stat, memory.stat, memory.events and the like."""
    fields = (line.split() for line in text.splitlines())
    return {field[0]: int(field[1]) for field in fields if len(field) == 2 and field[1].isdecimal()}


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, _AT_ONCE):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)
