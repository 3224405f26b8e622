"""A proxy in front of Kafka: its clients see no other address, and can be cut off or slowed independently of others.

Kafka reports its brokers' addresses to clients, so the proxy replaces the port in those responses. Both addresses have
the same length, so nothing else changes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.faults.listener import Listener

_LONGEST_ANSWER_CHANGED = 64 * 1024


class KafkaProxy(Listener):
    """Listens on a free port. While `is_open` is false, connections are cut and new ones refused."""

    def __init__(self, bootstrap_servers: str) -> None:
        super().__init__()
        host, port = bootstrap_servers.split(":")
        self._upstream = (host, int(port))
        self.is_open = True
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def shut(self) -> None:
        """Cut all connections and refuse new ones."""
        self.is_open = False
        self._loop.call_soon_threadsafe(self._cut)

    def open(self) -> None:
        """Accept connections again."""
        self.is_open = True

    def cut(self) -> None:
        """Cut all connections; clients may connect again at once."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.transport.abort()
            return
        try:
            broker_reader, broker = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, broker}
        try:
            await asyncio.gather(self._requests(reader, broker), self._answers(broker_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers -= {writer, broker}
            for end in (writer, broker):
                with suppress(OSError):
                    end.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, broker: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            broker.write(piece)
            await broker.drain()
        raise asyncio.IncompleteReadError(b"", None)

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = self._upstream[0].encode()
        old, new = (host + port.to_bytes(4, "big") for port in (self._upstream[1], self.port))
        while True:
            size = await reader.readexactly(4)
            answer = await reader.readexactly(int.from_bytes(size, "big"))
            if len(answer) <= _LONGEST_ANSWER_CHANGED:
                answer = answer.replace(old, new)
            writer.write(size + answer)
            await writer.drain()
