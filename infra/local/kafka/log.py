"""The broker's application log (not its topics' logs): where log4j writes it, and how to read its last lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

CONFIGURATION = Path(__file__).with_name("log4j2.json")
SERVER_LOG = "server.log"  # as in log4j2.json
TAIL_LINES = 25
TAIL_BYTES = 64 * 1024
# A broker that fails to start logs its reason, and then some hundred lines about how it ends.
ERROR_LINES = 12
ERROR_BYTES = 1024 * 1024
_ENTRY = re.compile(r"\d{4}-\d\d-\d\dT\S+ (?P<level>[A-Z]+) ")  # as in log4j2.json


def log_options(directory: Path) -> list[str]:
    """Return Java options for a log in `directory`, of at most three files of 10 MB."""
    return [f"-Dkafka.logs.dir={directory}", f"-Dlog4j2.configurationFile={CONFIGURATION}"]


def read_tail(path: Path, offset: int = 0) -> list[str]:
    """Return the last lines of a file from `offset` on (from its start if it is shorter); [] if it is missing."""
    return _read_last(path, offset, TAIL_BYTES)[-TAIL_LINES:]


def _read_last(path: Path, offset: int, limit: int) -> list[str]:
    with suppress(OSError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(offset if offset <= size else 0, size - limit))
        return file.read().decode("utf-8", "replace").splitlines()
    return []


def _errors(lines: Iterable[str]) -> Iterator[str]:
    """Yield the entries of level ERROR or FATAL with their causes, without the frames of stack traces."""
    failed = False
    for line in lines:
        if entry := _ENTRY.match(line):
            failed = entry["level"] in {"ERROR", "FATAL"}
        if failed and not line.startswith("\t"):
            yield line


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
        """Return the last lines since `mark`; before them the last errors that were logged earlier."""
        lines = _read_last(self._path, self._offset, ERROR_BYTES)
        return [*list(_errors(lines[:-TAIL_LINES]))[-ERROR_LINES:], *lines[-TAIL_LINES:]]
