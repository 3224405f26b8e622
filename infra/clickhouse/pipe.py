"""The pipe between the engine, which writes rows in a thread, and the asyncio loop, which reads them.

The engine opens the writing end by its path and blocks when the pipe is full, so a slow client slows
its own query and the server's memory stays bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os

_SIZE_BYTES = 1 << 20
_SET_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)


class Pipe:
    """A pipe whose reading end belongs to the running loop."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._writing, _SET_SIZE, _SIZE_BYTES)
        self.path = f"/dev/fd/{self._writing}"

    async def read(self) -> bytes:
        """The next bytes; empty when all writing ends are closed."""
        while True:
            try:
                return os.read(self._reading, _SIZE_BYTES)
            except BlockingIOError:
                await self._readable()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(self._reading, wake)
        try:
            await ready
        finally:
            loop.remove_reader(self._reading)

    def close_writing(self) -> None:
        """Close our copy of the writing end, from whichever thread; the reader then comes to the end."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def close_reading(self) -> None:
        """Close the reading end: whoever writes on gets an error instead of waiting."""
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1
