"""Waits for something that another thread or process does.

Timeouts are for an idle machine; a wait fails only after `PATIENCE` times as long, for loaded machines. A condition
that is already true does not wait at all.
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
POLL_S = 0.02
PORT_WITHIN_S = 15


def eventually(
    read: Callable[[], Value], holds: Callable[[Value], bool], within_s: float, what: str
) -> Value:
    """Return the first value for which `holds` is true; fail with the last value if that takes too long."""
    begun = time.monotonic()
    while True:
        value = read()
        if holds(value):
            return value
        waited_s = time.monotonic() - begun
        if waited_s > within_s * PATIENCE:
            raise AssertionError(f"{what}: not within {waited_s:.0f} s; last seen: {value!r}")
        time.sleep(POLL_S)


def until(reached: Callable[[], Value], within_s: float = 10, what: str = "it was waited for") -> Value:
    """Return the first value that is true."""
    return eventually(reached, bool, within_s, what)


async def until_async(
    reached: Callable[[], Value], within_s: float = 10, what: str = "it was waited for"
) -> Value:
    """Return the first value that is true, while the other tasks of this loop continue."""
    end = time.monotonic() + within_s * PATIENCE
    while not (value := reached()):
        assert time.monotonic() < end, what
        await asyncio.sleep(POLL_S)
    return value


def until_open(port: int, server: subprocess.Popen[bytes], log: Path | None = None) -> None:
    """Wait until the server accepts connections; fail with its log if it ends instead."""

    def is_open() -> bool:
        assert server.poll() is None, log.read_text()[-3000:] if log else f"it ended with {server.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    until(is_open, PORT_WITHIN_S, f"port {port}")
