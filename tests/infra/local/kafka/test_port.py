"""Ports are free, and outside the range of outgoing connections."""

import socket

from endpoint_analytics.infra.local.system.port import (
    free_port,
    is_free,
    parse_ephemeral_low,
    read_ephemeral_low,
)


def test_the_range_of_outgoing_connections_is_read() -> None:
    assert parse_ephemeral_low("32768\t60999\n") == 32_768


def test_a_free_port_can_be_bound_and_lies_below_that_range() -> None:
    port = free_port("127.0.0.1")
    assert port < read_ephemeral_low()
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


def test_a_port_whose_connections_linger_is_free() -> None:
    port = free_port("127.0.0.1")
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # the server closes first: its side is the one that lingers
        client.close()
    assert is_free("127.0.0.1", port)
