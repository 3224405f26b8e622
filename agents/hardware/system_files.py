"""Reads the kernel's small files: an unreadable file is logged once, and does not affect the others.

Only reading and two common file formats belong here; what a file means is documented where it is used.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

logger = logging.getLogger("endpoint_analytics")

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV)
_OFF = (errno.EOPNOTSUPP, errno.EINVAL)
"""Raised if the file exists but the kernel was started without the feature."""

_READ_BYTES = 65_536


class SystemFiles:
    """Reads files anew each time. A file that never existed is not logged: kernels differ."""

    def __init__(self) -> None:
        self._seen: set[Path] = set()
        self._reported: set[Path] = set()

    def text(self, path: Path) -> str | None:
        """Return the file's text; None if it cannot be read."""
        try:
            text = _read(path)
        except OSError as error:
            self._report(path, error)
            return None
        self._seen.add(path)
        self._reported.discard(path)
        return text.decode(errors="replace")

    def number(self, path: Path) -> int | None:
        """Return the number in the file; None if it cannot be read or is `max`."""
        return parse_number(self.text(path))

    def table(self, path: Path) -> dict[str, int]:
        """Return the `name number` lines of the file; empty if it cannot be read."""
        return parse_table(self.text(path) or "")

    def _report(self, path: Path, error: OSError) -> None:
        never_existed = error.errno in _MISSING and path not in self._seen
        if never_existed or error.errno in _OFF or path in self._reported:
            return
        self._reported.add(path)
        logger.warning("cannot read %s, its metrics are missing: %s", path, error.strerror)


def parse_number(text: str | None) -> int | None:
    """Parse an integer; None if the text is not one."""
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
        while part := os.read(descriptor, _READ_BYTES):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)
