"""Which parts run on one machine, with which arguments, and in which order they stop. Starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from endpoint_analytics.infra.local.clickhouse.passwords import ANALYST, WRITER, password_file
from endpoint_analytics.infra.local.parts import ClickHousePart, KafkaPart, Program
from endpoint_analytics.infra.local.preflight import HOST
from endpoint_analytics.infra.local.supervise import Part
from endpoint_analytics.infra.local.terminal import Terminal

# Names, and how long each may take: 9.5 s at the very most, and 2 to 3 s as a rule. The demo's traffic ends
# first, then its replicas, so that they tell their last figures while there is who reads them.
STOP_ORDER: tuple[tuple[tuple[str, ...], float], ...] = (
    (("Demo endpoint",), 4.0),
    (("Worker", "Query service", "Signals"), 2.5),
    (("ClickHouse", "Kafka"), 3.0),
)


@dataclass(frozen=True, slots=True)
class Installation:
    """Where everything of a run lies and listens. `ports` are by the names of `preflight.USUAL_PORTS`."""

    data: Path
    ports: dict[str, int]
    rate: float = 30.0
    pace: float = 1.0
    demo: bool = True

    @property
    def logs(self) -> Path:
        """The directory of the logs."""
        return self.data / "logs"

    @property
    def token(self) -> Path:
        """The file with the access token."""
        return self.data / "token"

    @property
    def kafka(self) -> str:
        """Kafka's host:port."""
        return f"{HOST}:{self.ports['kafka']}"

    @property
    def clickhouse_url(self) -> str:
        """ClickHouse's HTTP interface."""
        return f"http://{HOST}:{self.ports['clickhouse']}"

    @property
    def clickhouse(self) -> Path:
        """The directory of ClickHouse."""
        return self.data / "clickhouse"

    @property
    def clickhouse_password(self) -> Path:
        """The file with the password of those who write."""
        return password_file(self.clickhouse, WRITER)

    @property
    def analyst_password(self) -> Path:
        """The file with the password of who only reads."""
        return password_file(self.clickhouse, ANALYST)

    @property
    def serve_url(self) -> str:
        """The query service."""
        return f"http://{HOST}:{self.ports['serve']}"


def databases(place: Installation, terminal: Terminal) -> Sequence[Part]:
    """The parts that hold data."""

    def progress(text: str) -> None:
        terminal.progress(KafkaPart.name, text)

    return (
        KafkaPart(place.data / "kafka", place.ports["kafka"], place.logs, progress),
        ClickHousePart(place.clickhouse, place.ports["clickhouse"], place.logs),
    )


def programs(place: Installation, terminal: Terminal) -> Sequence[Part]:
    """The parts that work on the data, once there are topics and tables."""
    clickhouse = (
        "--clickhouse-url", place.clickhouse_url,
        "--clickhouse-password-file", str(place.clickhouse_password),
    )  # fmt: skip
    command = "endpoint_analytics.infra.command"

    def program(name: str, log: str, needs: tuple[str, ...], *words: str) -> Program:
        return Program(
            name, words, needs=needs, directory=place.data, log=place.logs / f"{log}.log", say=terminal.warn
        )

    worker = program(
        "Worker", "worker", ("Kafka", "ClickHouse"),
        command, "worker", "--kafka", place.kafka, "--instance-id", "local",
        *clickhouse,
    )  # fmt: skip
    serve = program(
        "Query service", "serve", ("ClickHouse",),
        command, "serve", "--port", str(place.ports["serve"]), *clickhouse,
    )  # fmt: skip
    signals = program(
        "Signals", "signals", ("Kafka", "ClickHouse"),
        command, "signals", "--kafka", place.kafka, *clickhouse,
    )  # fmt: skip
    if not place.demo:
        return worker, serve, signals
    demo = program(
        "Demo endpoint", "demo", ("Kafka",),
        "endpoint_analytics.infra.local.demo", "--kafka", place.kafka, "--data", str(place.data / "demo"),
        "--logs", str(place.logs), "--port", str(place.ports["demo"]),
        "--rate", str(place.rate), "--pace", str(place.pace),
    )  # fmt: skip
    return worker, serve, signals, demo
