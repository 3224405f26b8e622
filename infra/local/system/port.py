"""A free port for a server that may be restarted on it while its clients are still trying."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_240
DEFAULT_EPHEMERAL_LOW = 32_768
TRIES = 200


def parse_ephemeral_low(text: str) -> int:
    """The lowest port that the system gives to outgoing connections, of the text "32768 60999"."""
    return int(text.split(maxsplit=1)[0])


def read_ephemeral_low() -> int:
    """The same of this machine; Linux's default where the system does not tell."""
    try:
        return parse_ephemeral_low(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii"))
    except (OSError, ValueError, IndexError):
        return DEFAULT_EPHEMERAL_LOW


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; connections of an ended one that linger do not count."""
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
    """A port that nobody is bound to at `host` now.

    It lies below the range of outgoing connections where it can: a client that keeps dialling a port in
    that range while the server is down can be given it as its own, meet itself, and so keep the server out.
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
