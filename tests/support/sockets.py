"""Opens many connections to one server, and checks whether it keeps them open."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


def is_open(connection: socket.socket) -> bool:
    """Whether the peer keeps the connection open; any data it sends is discarded."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


@contextmanager
def many(port: int, count: int, begin: bytes) -> Iterator[list[socket.socket]]:
    """Open `count` connections, and send these bytes on each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            connection.sendall(begin)
            made.append(connection)
        yield made
