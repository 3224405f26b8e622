"""The parts of a local run: Kafka, ClickHouse, and our own programs, which report when they are ready.

Each class adapts one kind of process to the supervisor's `Part` protocol; none decides when to start or stop.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess, StartError
from endpoint_analytics.infra.local.kafka.errors import KafkaError
from endpoint_analytics.infra.local.kafka.log import read_tail
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.supervise import PartError
from endpoint_analytics.infra.local.system.child import spawn
from endpoint_analytics.infra.local.system.logs import rotate

DIRECTORY_FREE_WITHIN_S = 6.0
KAFKA_HEAP_MB = 256
TAIL_LINES = 15


class KafkaPart:
    """Apache Kafka, with its application log linked into the directory of logs."""

    name = "Kafka"
    needs: tuple[str, ...] = ()

    def __init__(self, data: Path, port: int, logs: Path, progress: Callable[[str], None]) -> None:
        self._link = (logs / "kafka.log", data / "server.log")
        self.process = KafkaProcess(data, port=port, heap_mb=KAFKA_HEAP_MB, progress=progress)

    def start(self) -> str:
        """Start it, fetching missing jars first."""
        link, log = self._link
        if not link.is_symlink():
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(log, link.parent))
        try:
            self.process.start()
        except KafkaError as error:
            raise PartError(str(error)) from error
        return self.process.bootstrap_servers

    def poll(self) -> int | None:
        """Return the Java process's exit status."""
        return self.process.poll()

    def stop(self, timeout_s: float) -> None:
        """Stop it cleanly."""
        self.process.stop(timeout_s)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()

    def log_tail(self) -> str:
        """Return the last lines of the broker's log."""
        return self.process.log_tail()


class ClickHousePart:
    """The ClickHouse engine behind its HTTP interface."""

    name = "ClickHouse"
    needs: tuple[str, ...] = ()

    def __init__(self, data: Path, port: int, logs: Path) -> None:
        self._log = logs / "clickhouse.log"
        self.process = ClickHouseProcess(data, port=port, log=self._log)

    def start(self) -> str:
        """Start it; waits for an orphaned ClickHouse engine to release the directory."""
        deadline_s = time.monotonic() + DIRECTORY_FREE_WITHIN_S
        rotate(self._log)
        while True:
            try:
                self.process.start()
            except StartError as error:
                if "in use" in str(error) and time.monotonic() < deadline_s:
                    time.sleep(0.3)
                    continue
                raise PartError(str(error)) from error
            return self.process.url

    def poll(self) -> int | None:
        """Return the process's exit status."""
        return self.process.poll()

    def stop(self, timeout_s: float) -> None:
        """Stop it cleanly."""
        self.process.stop(timeout_s)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(read_tail(self._log)[-TAIL_LINES:])


class Program:
    """One of our Python modules, which prints `NAME ready[ ADDRESS]` on stdout once it works.

    Later lines on stdout are passed to `say`; its stderr goes to the log.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *,
        needs: tuple[str, ...],
        directory: Path,
        log: Path,
        say: Callable[[str], None],
        ready_within_s: float = 60.0,
    ) -> None:
        self.name = name
        self.needs = needs
        self._argv = [sys.executable, "-P", "-m", *words]
        self._directory = directory
        self._log = log
        self._say = say
        self._ready_within_s = ready_within_s
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it and wait for its `ready` line."""
        rotate(self._log)
        child = self._child = spawn(
            self._argv, cwd=self._directory, output=self._log, environ=environment(), announces=True
        )
        ready = threading.Event()
        address: list[str] = []
        assert child.stdout is not None  # noqa: S101 - a pipe, since it announces
        threading.Thread(
            target=self._listen, args=(child.stdout, ready, address), name=f"read-{self.name}", daemon=True
        ).start()
        deadline_s = time.monotonic() + self._ready_within_s
        while not ready.wait(0.02):
            if (status := child.poll()) is not None:
                raise PartError(f"{self.name} exited with status {status} while starting:\n{self.log_tail()}")
            if time.monotonic() >= deadline_s:
                self.kill()
                raise PartError(
                    f"{self.name} was not ready within {self._ready_within_s:g} s:\n{self.log_tail()}"
                )
        return address[0]

    def poll(self) -> int | None:
        """Return its exit status."""
        return None if self._child is None else self._child.poll()

    def stop(self, timeout_s: float) -> None:
        """Send SIGTERM, and SIGKILL if it does not end in time."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(read_tail(self._log)[-TAIL_LINES:]) or f"(nothing in {self._log})"

    def _listen(self, stream: IO[bytes], ready: threading.Event, address: list[str]) -> None:
        with suppress(ValueError, OSError), stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").strip()
                if ready.is_set():
                    self._say(line)
                    continue
                _, word, rest = line.partition(" ready")
                if word:
                    address.append(rest.strip())
                    ready.set()


def environment() -> dict[str, str]:
    """Return this process's environment without settings meant for other agents, workers and services."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ENDPOINT_ANALYTICS_")}
    return {**kept, "PYTHONUNBUFFERED": "1"}
