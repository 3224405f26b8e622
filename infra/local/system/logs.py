"""The log files of local parts: one per part and run, with a few earlier ones kept."""

from __future__ import annotations

from pathlib import Path

KEPT = 3


def rotate(log: Path, kept: int = KEPT) -> None:
    """Move `x.log` to `x.log.1`, that to `x.log.2` and so on, keeping at most `kept` old files."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if not log.exists() or not log.stat().st_size:
        return
    for number in range(kept - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))
