"""Pipes between the engine, which works in a thread, and the asyncio loop: rows out, an INSERT's data in.

The engine opens its end by its path and blocks on it, so a slow client slows its own query and the
server's memory stays bounded. What goes in is a gzip file of stored blocks: of all that the engine can
read, this alone has an end of its own, so that data that were cut off are an error and no short INSERT.
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
    """Our copies of a pipe's two ends; closing one twice is closing it once."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._writing, _SET_SIZE, _SIZE_BYTES)

    def close_writing(self) -> None:
        """Close the writing end, from whichever thread; the reader then comes to the end."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def close_reading(self) -> None:
        """Close the reading end, from whichever thread: whoever writes on gets an error instead of waiting."""
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
        """The next bytes; empty when all writing ends are closed."""
        while True:
            try:
                return os.read(self._reading, _SIZE_BYTES)
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await _ready(self._reading, loop.add_reader, loop.remove_reader)


class Feed(_Ends):
    """A pipe whose writing end belongs to the running loop: a gzip file that is whole only after `finish`."""

    COMPRESSION = "gzip"

    def __init__(self) -> None:
        super().__init__()
        os.set_blocking(self._writing, False)
        self._gzip = zlib.compressobj(_STORED, zlib.DEFLATED, _GZIP)
        self.path = f"/dev/fd/{self._reading}"
        self.complete = False

    async def write(self, data: bytes) -> None:
        """Hand these bytes on, waiting while the engine is slow; BrokenPipeError when it reads no more."""
        await self._send(self._gzip.compress(data))

    async def finish(self) -> None:
        """Tell that the data are complete; BrokenPipeError as in `write`."""
        await self._send(self._gzip.flush())
        self.complete = True
        self.cut()

    def cut(self) -> None:
        """End the data where they are. Without `finish` the engine takes that for the error it is."""
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
    """The path of a file that holds `data`, for as long as the context lasts."""
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
