"""A server whose connections the test plays, byte by byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PATIENCE_S = 30


class Side:
    """One connection, from either end."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(PATIENCE_S)
        self.unread = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_until(self, mark: bytes) -> bytes:
        """Return what is received up to and including `mark`."""
        while mark not in self.unread:
            piece = self.socket.recv(65_536)
            assert piece, f"closed after {self.unread!r}"
            self.unread += piece
        found, _, self.unread = self.unread.partition(mark)
        return found + mark

    def read_head(self) -> bytes:
        return self.read_until(b"\r\n\r\n")

    def read_all(self) -> bytes:
        """Return what is received until the connection is closed, however that happens."""
        with suppress(ConnectionError):
            while piece := self.socket.recv(65_536):
                self.unread += piece
        found, self.unread = self.unread, b""
        return found

    def close(self) -> None:
        self.socket.close()


class Scripted:
    """`accepted` is how many connections were made."""

    def __init__(self, listener: socket.socket) -> None:
        self.port = listener.getsockname()[1]
        self.accepted = 0
        self.failures: list[BaseException] = []


@contextmanager
def scripted(play: Callable[[Side, int], None]) -> Iterator[Scripted]:
    """Serve with `play(side, number of the connection)`; its failed assertions fail the test at the end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = Scripted(listener)
    threads: list[threading.Thread] = []

    def run(side: Side, number: int) -> None:
        try:
            play(side, number)
        except BaseException as error:  # noqa: BLE001  # reported at the end of the test
            server.failures.append(error)
        finally:
            side.close()

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                server.accepted += 1
                threads.append(threading.Thread(target=run, args=(Side(connection), server.accepted)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(PATIENCE_S)
        for thread in threads:
            thread.join(PATIENCE_S)
    assert server.failures == []


def connect(port: int) -> Side:
    return Side(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))


def is_probe(side: Side) -> bool:
    """Whether the connection was only the proxy's reachability probe."""
    try:
        return side.socket.recv(1, socket.MSG_PEEK) == b""
    except ConnectionError:
        return True


def serve(*answers: bytes) -> Callable[[Side, int], None]:
    """Play a server that gives these answers on each connection, one for each head, and closes it then."""

    def play(side: Side, number: int) -> None:
        if is_probe(side):
            return
        for answer in answers:
            side.read_head()
            side.send(answer)

    return play
