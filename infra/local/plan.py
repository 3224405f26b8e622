"""Which parts run on one machine, their arguments, and the order in which they stop. Starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from endpoint_analytics.infra.local.clickhouse.passwords import ANALYST, WRITER, password_file
from endpoint_analytics.infra.local.parts import ClickHousePart, KafkaPart, Program
from endpoint_analytics.infra.local.preflight import HOST
from endpoint_analytics.infra.local.supervise import Part
from endpoint_analytics.infra.local.terminal import Terminal

# Names, and how long each group may take: 9.5 s at most in total, usually 2 to 3 s. The demo's traffic ends first,
# then its replicas, so their last figures are reported while the worker still reads them.
STOP_ORDER: tuple[tuple[tuple[str, ...], float], ...] = (
    (("Demo endpoint",), 4.0),
    (("Worker", "Query service", "Signals"), 2.5),
    (("ClickHouse", "Kafka"), 3.0),
)


@dataclass(frozen=True, slots=True)
class Installation:
    """The paths and ports of a run. `ports` has the keys of `preflight.USUAL_PORTS`."""

    data: Path
    ports: dict[str, int]
    rate: float = 30.0
    pace: float = 1.0
    demo: bool = True

    @property
    def logs(self) -> Path:
        """The directory of log files."""
        return self.data / "logs"

    @property
    def token(self) -> Path:
        """The access token's file."""
        return self.data / "token"

    @property
    def kafka(self) -> str:
        """Kafka's address, HOST:PORT."""
        return f"{HOST}:{self.ports['kafka']}"

    @property
    def clickhouse_url(self) -> str:
        """The URL of ClickHouse's HTTP interface."""
        return f"http://{HOST}:{self.ports['clickhouse']}"

    @property
    def clickhouse(self) -> Path:
        """ClickHouse's data directory."""
        return self.data / "clickhouse"

    @property
    def clickhouse_password(self) -> Path:
        """The password file of the account that writes."""
        return password_file(self.clickhouse, WRITER)

    @property
    def analyst_password(self) -> Path:
        """The password file of the read-only account."""
        return password_file(self.clickhouse, ANALYST)

    @property
    def serve_url(self) -> str:
        """The URL of the query service."""
        return f"http://{HOST}:{self.ports['serve']}"


def databases(installation: Installation, terminal: Terminal) -> Sequence[Part]:
    """Return the parts that store data."""

    def progress(text: str) -> None:
        terminal.progress(KafkaPart.name, text)

    return (
        KafkaPart(installation.data / "kafka", installation.ports["kafka"], installation.logs, progress),
        ClickHousePart(installation.clickhouse, installation.ports["clickhouse"], installation.logs),
    )


def programs(installation: Installation, terminal: Terminal) -> Sequence[Part]:
    """Return the parts that work on the data, once topics and tables exist."""
    clickhouse = (
        "--clickhouse-url", installation.clickhouse_url,
        "--clickhouse-password-file", str(installation.clickhouse_password),
    )  # fmt: skip
    command = "endpoint_analytics.infra.command"

    def program(name: str, log: str, needs: tuple[str, ...], *words: str) -> Program:
        return Program(
            name,
            words,
            needs=needs,
            directory=installation.data,
            log=installation.logs / f"{log}.log",
            say=terminal.warn,
        )

    worker = program(
        "Worker", "worker", ("Kafka", "ClickHouse"),
        command, "worker", "--kafka", installation.kafka, "--instance-id", "local",
        *clickhouse,
    )  # fmt: skip
    serve = program(
        "Query service", "serve", ("ClickHouse",),
        command, "serve", "--port", str(installation.ports["serve"]), *clickhouse,
    )  # fmt: skip
    signals = program(
        "Signals", "signals", ("Kafka", "ClickHouse"),
        command, "signals", "--kafka", installation.kafka, *clickhouse,
    )  # fmt: skip
    if not installation.demo:
        return worker, serve, signals
    demo = program(
        "Demo endpoint", "demo", ("Kafka",),
        "endpoint_analytics.infra.local.demo", "--kafka", installation.kafka, "--data", str(installation.data / "demo"),
        "--logs", str(installation.logs), "--port", str(installation.ports["demo"]),
        "--rate", str(installation.rate), "--pace", str(installation.pace),
    )  # fmt: skip
    return worker, serve, signals, demo
