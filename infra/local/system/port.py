"""A free port for a server that may be restarted on it while its clients keep reconnecting."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_240
DEFAULT_EPHEMERAL_LOW = 32_768
TRIES = 200


def parse_ephemeral_low(text: str) -> int:
    """Return the lowest port used for outgoing connections, from a text such as "32768 60999"."""
    return int(text.split(maxsplit=1)[0])


def read_ephemeral_low() -> int:
    """Return that port for this machine; Linux's default if the system does not report it."""
    try:
        return parse_ephemeral_low(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii"))
    except (OSError, ValueError, IndexError):
        return DEFAULT_EPHEMERAL_LOW


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; lingering connections of an earlier server do not count."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def free_port(host: str) -> int:
    """Return a port of `host` that is free now.

    It is below the range of outgoing connections if possible: a client that keeps dialling a port in that range while
    the server is down can get it as its own source port, connect to itself, and so block the server.
    """
    high = read_ephemeral_low()
    wanted = [random.randrange(LOWEST, high) for _ in range(TRIES)] if high > LOWEST else []  # noqa: S311 - no secret
    for port in [*wanted, 0]:
        with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port at {host}")
