"""A broker is ready when it names itself in its cluster's metadata."""

import socket
import struct

import pytest

from endpoint_analytics.infra.local.kafka.probe import parse_ports, read_answers, render_request
from endpoint_analytics.infra.local.system.port import free_port


def broker(node_id: int, host: bytes, port: int, rack: bytes | None) -> bytes:
    tail = struct.pack(">h", -1) if rack is None else struct.pack(">h", len(rack)) + rack
    return struct.pack(">ih", node_id, len(host)) + host + struct.pack(">i", port) + tail


def test_the_request_is_metadata_version_1_for_no_topic() -> None:
    assert render_request().hex(" ") == "00 00 00 0e 00 03 00 01 00 00 00 07 ff ff 00 00 00 00"


def test_the_ports_of_all_brokers_are_read() -> None:
    brokers = broker(1, b"127.0.0.1", 9092, None) + broker(2, b"other", 9192, b"rack")
    assert parse_ports(struct.pack(">ii", 7, 2) + brokers + struct.pack(">ii", 1, 0)) == [9092, 9192]


@pytest.mark.parametrize("body", [b"", b"HTTP/1.1 400", struct.pack(">ii", 7, 1), struct.pack(">ii", 8, 0)])
def test_anything_else_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer|response"):
        parse_ports(body)


def test_a_closed_port_does_not_answer() -> None:
    assert not read_answers("127.0.0.1", free_port("127.0.0.1"), timeout_s=1)


def test_a_server_that_closes_or_is_silent_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not read_answers("127.0.0.1", silent.getsockname()[1], timeout_s=0.1)
