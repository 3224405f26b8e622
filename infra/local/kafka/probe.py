"""Checks whether a broker answers: one Metadata request over a plain socket, so no event loop is needed."""

from __future__ import annotations

import socket
import struct

METADATA = 3
# Version 1: the oldest whose request can ask for no topics at all.
# https://kafka.apache.org/protocol.html#The_Messages_Metadata
VERSION = 1
CORRELATION_ID = 7


def render_request() -> bytes:
    """Return a Metadata request, version 1, for no topics, prefixed with its length."""
    body = struct.pack(">hhihi", METADATA, VERSION, CORRELATION_ID, -1, 0)
    return struct.pack(">i", len(body)) + body


def parse_ports(body: bytes) -> list[int]:
    """Return the ports of the brokers in a Metadata response, version 1; raises ValueError for anything else."""
    try:
        correlation_id, count = struct.unpack_from(">ii", body)
        if correlation_id != CORRELATION_ID:
            raise ValueError(f"the answer is to request {correlation_id}, not {CORRELATION_ID}")
        at, ports = 8, []
        for _ in range(count):
            (host_length,) = struct.unpack_from(">h", body, at + 4)
            port, rack_length = struct.unpack_from(">ih", body, at + 6 + host_length)
            ports.append(port)
            at += 12 + host_length + max(rack_length, 0)
    except struct.error as error:
        raise ValueError(f"not a Metadata response: {error}") from error
    return ports


def read_answers(host: str, port: int, timeout_s: float) -> bool:
    """Whether the broker at `host` and `port` answers, and lists itself in its cluster."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(render_request())
            (length,) = struct.unpack(">i", _read_exactly(connection, 4))
            return port in parse_ports(_read_exactly(connection, length))
    except (OSError, ValueError):
        return False


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionError("the broker closed the connection")
        parts += part
    return bytes(parts)
