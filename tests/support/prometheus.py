"""A Prometheus of any version as a process, and the questions that tests ask it."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from endpoint_analytics.infra.local.system.port import free_port

Ask = Callable[[str], list[dict[str, Any]]]


@contextmanager
def running(words: list[str], log: Path) -> Iterator[None]:
    """Run a program, and end it."""
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, cwd=log.parent)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs: its port and its log."""

    port: int
    log: Path

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the series that answer the query; none while it does not answer."""
        address = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except OSError:
            return []


@contextmanager
def running_prometheus(program: Path, directory: Path, config: str, *flags: str) -> Iterator[Prometheus]:
    """Run it with this configuration; its log must name no error, unless the test fails before."""
    directory.mkdir(exist_ok=True)
    port, file, log = free_port("127.0.0.1"), directory / "prometheus.yml", directory / "log"
    file.write_text(config)
    words = [
        str(program),
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        *flags,
    ]
    with running(words, log):
        yield Prometheus(port, log)
        assert "err" not in log.read_text()


def value_of_only(result: list[dict[str, Any]]) -> float:
    """Return the value of the only series."""
    (only,) = result
    return float(only["value"][1])
