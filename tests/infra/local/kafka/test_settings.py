"""Settings are rendered to the exact text that Java reads."""

from pathlib import Path

import pytest

from endpoint_analytics.infra.local.kafka.settings import Node, host_port, render_properties, server_settings


def test_listeners_bind_one_address_and_advertise_another() -> None:
    settings = server_settings(Node(Path("/data/log"), "::", "broker.example", 9092, 9093))
    assert settings["listeners"] == "PLAINTEXT://[::]:9092,CONTROLLER://127.0.0.1:9093"
    assert settings["advertised.listeners"] == "PLAINTEXT://broker.example:9092"
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:9093"
    assert settings["log.dirs"] == "/data/log"


def test_one_node_asks_for_one_replica() -> None:
    settings = server_settings(Node(Path("/d"), "127.0.0.1", "127.0.0.1", 1, 2))
    replicas = {name: value for name, value in settings.items() if "replication.factor" in name}
    assert set(replicas.values()) == {"1"}
    assert {value for name, value in settings.items() if name.endswith("min.isr")} == {"1"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "a=plain\n"),
        ("C:\\data", "a=C:\\\\data\n"),
        (" lead", "a=\\ lead\n"),
        ("a\nb", "a=a\\nb\n"),
        ("é", "a=\\u00e9\n"),
        ("𝄞", "a=\\ud834\\udd1e\n"),
    ],
)
def test_values_are_escaped_as_java_reads_them(value: str, text: str) -> None:
    assert render_properties({"a": value}) == text


@pytest.mark.parametrize(
    ("host", "text"), [("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1"), ("name", "name:1")]
)
def test_an_ipv6_address_stands_in_brackets(host: str, text: str) -> None:
    assert host_port(host, 1) == text
