"""Waiting for what another thread or process does.

Times are those of a machine that has nothing else to do; a loaded one gets `PATIENCE` times as long before a wait
fails, and one that has got there does not wait at all.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")

PATIENCE = 6
LOOK_S = 0.02
PORT_WITHIN_S = 15


def eventually(
    read: Callable[[], Value], holds: Callable[[Value], bool], within_s: float, what: str
) -> Value:
    """Return the first value for which `holds`; fail with the last one when none came in time."""
    begun = time.monotonic()
    while True:
        value = read()
        if holds(value):
            return value
        waited_s = time.monotonic() - begun
        if waited_s > within_s * PATIENCE:
            raise AssertionError(f"{what}: not within {waited_s:.0f} s; last seen: {value!r}")
        time.sleep(LOOK_S)


def until(reached: Callable[[], Value], within_s: float = 10, what: str = "it was waited for") -> Value:
    """Return the first value that is true."""
    return eventually(reached, bool, within_s, what)


async def until_async(
    reached: Callable[[], Value], within_s: float = 10, what: str = "it was waited for"
) -> Value:
    """Return the first value that is true, while the tasks of this loop go on."""
    end = time.monotonic() + within_s * PATIENCE
    while not (value := reached()):
        assert time.monotonic() < end, what
        await asyncio.sleep(LOOK_S)
    return value


def until_open(port: int, server: subprocess.Popen[bytes], log: Path | None = None) -> None:
    """Wait until the server accepts connections; fail with its log when it has ended instead."""

    def is_open() -> bool:
        assert server.poll() is None, log.read_text()[-3000:] if log else f"it ended with {server.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    until(is_open, PORT_WITHIN_S, f"port {port}")
