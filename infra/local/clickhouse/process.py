"""A ClickHouse server as a child process: starts it, waits until it answers, stops it.

The child has its own session, so that Ctrl-C reaches it only through its parent. It watches its standard
input, a pipe from the parent, and ends when the parent is gone.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from endpoint_analytics.infra.local.clickhouse.passwords import ANALYST, WRITER, password_file
from endpoint_analytics.schemas.configuration.clickhouse_config import DEFAULT_DATABASE, ClickHouseConfig
from endpoint_analytics.schemas.configuration.settings import PREFIX, variable_of

_READY = b"clickhouse ready "
_START = "import sys; from endpoint_analytics.infra.command import main; sys.exit(main())"
_TAIL_BYTES = 2000


class StartError(Exception):
    """The server did not start; the message ends with the last lines of its log."""


class ClickHouseProcess:
    """The command `endpoint-analytics clickhouse` as a child process."""

    def __init__(
        self,
        data: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        user: str = WRITER,
        password: str = "",
        log: Path | None = None,
        words: Sequence[str] = (),
    ) -> None:
        """`words` are additional arguments of the command."""
        self._data = Path(data)
        self.host = host
        self.port = port
        self.user = user
        self._password = password
        self.log = log or self._data.parent / "logs" / "clickhouse.log"
        self.url = ""
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def password_file(self) -> Path:
        """The password file of the user who writes, unless the password was given."""
        return password_file(self._data, self.user)

    @property
    def analyst_password_file(self) -> Path:
        """The password file of the read-only user."""
        return password_file(self._data, ANALYST)

    def config(self, database: str = DEFAULT_DATABASE) -> ClickHouseConfig:
        """Return how the user who writes connects, once the server runs."""
        password = self._password or self.password_file.read_text(encoding="ascii").strip()
        return ClickHouseConfig(self.url, self.user, password, database)

    def analyst_config(self, database: str = DEFAULT_DATABASE) -> ClickHouseConfig:
        """Return how the read-only user connects, once the server runs."""
        password = self.analyst_password_file.read_text(encoding="ascii").strip()
        return ClickHouseConfig(self.url, ANALYST, password, database)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for a process that connects as the user who writes, once the server runs."""
        return {
            variable_of("clickhouse_url"): self.url,
            variable_of("clickhouse_user"): self.user,
            variable_of("clickhouse_password"): self.config().password,
        }

    @property
    def pid(self) -> int:
        """The child's process ID; raises RuntimeError before `start`."""
        return self._child().pid

    def start(self, timeout_s: float = 60) -> None:
        """Start the server and return once it answers; raises StartError if it does not."""
        if self.poll() is None and self._process is not None:
            raise RuntimeError("this ClickHouse process is already running")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        words = [
            "--data",
            str(self._data),
            "--host",
            self.host,
            "--port",
            str(self.port),
            "--user",
            self.user,
            *self._words,
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, "clickhouse", *words, "--until-stdin-closes"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=self._environment(),
            )
        try:
            self.url = self._read_ready_line(time.monotonic() + timeout_s)
        except BaseException:
            self.kill()
            raise
        self.port = urlsplit(self.url).port or self.port

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs and before it was started."""
        return None if self._process is None else self._process.poll()

    def stop(self, timeout_s: float = 8) -> None:
        """Send SIGTERM, and SIGKILL after `timeout_s`. Does nothing if it is not running."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close_pipes()

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it has ended."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._close_pipes()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _environment(self) -> dict[str, str]:
        """Return this process's environment without settings for parts that connect to another server."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return kept | ({variable_of("clickhouse_password"): self._password} if self._password else {})

    def _child(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("this ClickHouse process was not started")
        return self._process

    def _read_ready_line(self, deadline: float) -> str:
        output = self._child().stdout
        assert output is not None  # noqa: S101
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise StartError(
                        f"ClickHouse on {self._data} did not answer in time. Its log:\n{self._tail()}"
                    )
                piece = os.read(output.fileno(), 4096)
                if not piece:
                    status = self._child().wait()
                    raise StartError(
                        f"ClickHouse on {self._data} exited with status {status}. Its log:\n{self._tail()}"
                    )
                line += piece
        if not line.startswith(_READY):
            raise StartError(
                f"ClickHouse on {self._data} printed {line!r} instead of being ready. Its log:\n{self._tail()}"
            )
        return line.removeprefix(_READY).decode().strip()

    def _close_pipes(self) -> None:
        for stream in (self._child().stdin, self._child().stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _tail(self) -> str:
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace")
        return "(none)"
