"""The broker's settings, suited to a single node that must start quickly. Pure; writes no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NODE_ID = 1
MESSAGE_MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Node:
    """One node, both broker and controller.

    The broker listens on `host`; clients are given `advertised_host`. The controller listens on 127.0.0.1 only.
    """

    log_dir: Path
    host: str
    advertised_host: str
    port: int
    controller_port: int


def host_port(host: str, port: int) -> str:
    """Return HOST:PORT, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_settings(node: Node) -> dict[str, str]:
    """Return Kafka's broker settings, named as in https://kafka.apache.org/documentation/#brokerconfigs."""
    controller = host_port("127.0.0.1", node.controller_port)
    return {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        "controller.quorum.voters": f"{NODE_ID}@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{host_port(node.host, node.port)},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{host_port(node.advertised_host, node.port)}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(node.log_dir),
        # Topics are created with explicit settings, never by a client's first request.
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(MESSAGE_MAX_BYTES),
        "replica.fetch.max.bytes": str(MESSAGE_MAX_BYTES),
        # A single node holds the only replica of everything.
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "8",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # After a crash the controller waits this long for the broker's old session before it accepts a new one.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "250",
        # A group starts at once, and may request a shorter session timeout than Kafka's minimum of 6 s.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # For a small machine: threads for two to four cores, and a log cleaner that does not take 128 MiB of heap.
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    }


def render_properties(settings: Mapping[str, str]) -> str:
    """Return a Java properties file, one setting per line.

    The format is that of java.util.Properties.load: Latin-1, backslash escapes, UTF-16 units as `\\uXXXX`.
    """
    return "".join(f"{name}={_escape(value)}\n" for name, value in settings.items())


def _escape(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    if escaped.startswith(" "):
        escaped = "\\" + escaped
    units = escaped.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2))
    return "".join(chr(code) if 0x20 <= code < 0x7F else f"\\u{code:04x}" for code in codes)
