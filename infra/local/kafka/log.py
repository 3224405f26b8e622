"""The broker's application log (not its topics' logs): where log4j writes it, and how to read its last lines."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CONFIGURATION = Path(__file__).with_name("log4j2.json")
SERVER_LOG = "server.log"  # as in log4j2.json
TAIL_LINES = 25
TAIL_BYTES = 64 * 1024


def log_options(directory: Path) -> list[str]:
    """Return Java options for a log in `directory`, of at most three files of 10 MB."""
    return [f"-Dkafka.logs.dir={directory}", f"-Dlog4j2.configurationFile={CONFIGURATION}"]


def read_tail(path: Path, offset: int = 0) -> list[str]:
    """Return the last lines of a file from `offset` on (from its start if it is shorter); [] if it is missing."""
    with suppress(OSError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(offset if offset <= size else 0, size - TAIL_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
    return []


class ServerLog:
    """The log in one data directory; only lines written since the last start are read."""

    __slots__ = ("_offset", "_path")

    def __init__(self, directory: Path) -> None:
        self._path = directory / SERVER_LOG
        self._offset = 0

    def mark(self) -> None:
        """Note that a start begins."""
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def read_tail(self) -> list[str]:
        """Return the last lines since `mark`."""
        return read_tail(self._path, self._offset)
