"""Pipes between the ClickHouse engine, which runs in a thread, and the asyncio loop: rows out, an INSERT's data in.

The engine opens its end by path and blocks on it, so a slow client slows down only its own query and the server's
memory stays bounded. The data going in is a gzip file of stored blocks: among the inputs that the engine can
read, only this one has an end marker, so truncated data is an error instead of a shorter INSERT.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import zlib
from collections.abc import Callable, Iterator

_SIZE_BYTES = 1 << 20
_SET_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)
_GZIP, _STORED = 31, 0


class _Ends:
    """Our copies of a pipe's two ends; closing one again has no effect."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._writing, _SET_SIZE, _SIZE_BYTES)

    def close_writing(self) -> None:
        """Close the writing end, from any thread; the reader then reaches the end."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def close_reading(self) -> None:
        """Close the reading end, from any thread; the writer then gets an error instead of blocking."""
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1


class Pipe(_Ends):
    """A pipe whose reading end belongs to the running loop."""

    def __init__(self) -> None:
        super().__init__()
        os.set_blocking(self._reading, False)
        self.path = f"/dev/fd/{self._writing}"

    async def read(self) -> bytes:
        """Return the next bytes; empty once all writing ends are closed."""
        while True:
            try:
                return os.read(self._reading, _SIZE_BYTES)
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await _ready(self._reading, loop.add_reader, loop.remove_reader)


class Feed(_Ends):
    """A pipe whose writing end belongs to the running loop: a gzip file that is complete only after `finish`."""

    COMPRESSION = "gzip"

    def __init__(self) -> None:
        super().__init__()
        os.set_blocking(self._writing, False)
        self._gzip = zlib.compressobj(_STORED, zlib.DEFLATED, _GZIP)
        self.path = f"/dev/fd/{self._reading}"
        self.complete = False

    async def write(self, data: bytes) -> None:
        """Write these bytes, waiting while the engine is slow; BrokenPipeError once it no longer reads."""
        await self._send(self._gzip.compress(data))

    async def finish(self) -> None:
        """Mark the data as complete; BrokenPipeError as in `write`."""
        await self._send(self._gzip.flush())
        self.complete = True
        self.close()

    def close(self) -> None:
        """End the data here. Without `finish` the engine reports truncated data."""
        self.close_writing()

    async def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self._writing < 0:
                raise BrokenPipeError
            try:
                rest = rest[os.write(self._writing, rest) :]
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await _ready(self._writing, loop.add_writer, loop.remove_writer)


@contextlib.contextmanager
def memory_file(data: bytes) -> Iterator[str]:
    """Yield the path of an in-memory file with `data`; it exists until the context ends."""
    descriptor = os.memfd_create("data")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)


async def _ready(
    descriptor: int, add: Callable[[int, Callable[[], None]], None], remove: Callable[[int], bool]
) -> None:
    ready = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(descriptor, wake)
    try:
        await ready
    finally:
        remove(descriptor)
