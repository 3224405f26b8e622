"""A running Kafka: starts the Java process, waits until it answers, stops it. Settings are elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from endpoint_analytics.agents.core.file_lock import FileLock
from endpoint_analytics.infra.local.kafka import jars
from endpoint_analytics.infra.local.kafka.errors import KafkaError
from endpoint_analytics.infra.local.kafka.java import find_java
from endpoint_analytics.infra.local.kafka.log import ServerLog, log_options, read_tail
from endpoint_analytics.infra.local.kafka.probe import read_answers
from endpoint_analytics.infra.local.kafka.settings import Node, host_port, render_properties, server_settings
from endpoint_analytics.infra.local.kafka.storage import (
    FORMATTING,
    format_storage,
    is_formatted,
    new_cluster_id,
)
from endpoint_analytics.infra.local.system.child import spawn
from endpoint_analytics.infra.local.system.data_directory import DirectoryInUseError, lock_directory
from endpoint_analytics.infra.local.system.port import free_port, is_free

HEAP_MB = 512
# Another process may take a free port before the broker binds it; then the broker is started again.
TRIES = 3
JAVA_OUTPUT = "java.out"
POLL_S = 0.05
PORT_FREE_WITHIN_S = 5
LOG_DIR = "log"
# How to reach a server that is bound to all addresses.
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
# The serial collector and only the fast compiler: the broker answers 1.3 s after its start instead of 2.1 s.
QUICK_JAVA = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class KafkaProcess:
    """Apache Kafka on one data directory. Not thread-safe.

    Port 0 chooses a free port at the first start; later starts of the same object use that port again.
    `settings` are broker settings that override ours; a PLAINTEXT listener at host and port must remain, since the
    readiness probe uses it. A node of a cluster needs the `cluster_id` of the others.
    The Java process runs in its own session, and on Linux it ends with this process, even on SIGKILL.
    """

    def __init__(
        self,
        data: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        advertised_host: str | None = None,
        heap_mb: int = HEAP_MB,
        settings: Mapping[str, str] | None = None,
        cluster_id: str = "",
        progress: Callable[[str], None] = _to_stderr,
    ) -> None:
        if advertised_host is None and host in LOOPBACK_OF:
            raise KafkaError(f"clients cannot connect to {host}: set the advertised host too")
        if "," in str(data):
            raise KafkaError(f"Kafka cannot use a data directory with a comma in its name: {data}")
        self._data = data.resolve()
        self._host = host
        self._advertised_host = advertised_host or host
        self._requested_port = self._port = port
        self._heap_mb = heap_mb
        self._settings = dict(settings or {})
        self._cluster_id = cluster_id
        self._progress = progress
        self._child: subprocess.Popen[bytes] | None = None
        self._lock: FileLock | None = None
        self._log = ServerLog(self._data)
        self._answered = False

    @property
    def bootstrap_servers(self) -> str:
        """HOST:PORT for clients; the port is known after the first start."""
        return host_port(self._advertised_host, self._port)

    @property
    def pid(self) -> int:
        """The process ID of the Java process that was started last."""
        if self._child is None:
            raise KafkaError("Kafka was not started")
        return self._child.pid

    def poll(self) -> int | None:
        """Return the Java process's exit status (negative: the signal that ended it), or None while it runs."""
        return None if self._child is None else self._child.poll()

    def start(self, timeout_s: float = 120) -> None:
        """Start and wait until the broker answers. The timeout does not include fetching missing jars.

        Raises KafkaError, with the last lines of the log if the broker did not come up.
        """
        if self._child is not None and self.poll() is None:
            raise KafkaError(f"Kafka on {self._data} is already running: process {self._child.pid}")
        paths = jars.fetch(self._progress)
        java = [str(find_java()), "-cp", os.pathsep.join(map(str, paths))]
        deadline = time.monotonic() + timeout_s
        self._release()
        try:
            self._lock = lock_directory(self._data)
        except DirectoryInUseError as error:
            raise KafkaError(str(error)) from error
        except OSError as error:
            raise KafkaError(f"Kafka cannot use its data directory: {error}") from error
        try:
            self._format(java, timeout_s)
            for remaining in reversed(range(TRIES)):
                self._choose_port(min(deadline, time.monotonic() + PORT_FREE_WITHIN_S))
                self._launch(java, self._lock)
                if self._wait(deadline):
                    self._answered = True
                    return
                status, text = self.poll(), self.log_tail()
                if status is None:
                    raise KafkaError(f"Kafka on {self._data} did not answer within {timeout_s:g} s:\n{text}")
                if not remaining or "Address already in use" not in text:
                    raise KafkaError(
                        f"Kafka on {self._data} exited with status {status} while starting:\n{text}"
                    )
                if not self._answered:
                    self._port = self._requested_port
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = 8) -> None:
        """Stop it cleanly (SIGTERM), or with SIGKILL after `timeout_s`; returns when it has ended."""
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._release()

    def kill(self) -> None:
        """Kill it with SIGKILL, like a crash; returns when it has ended."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._release()

    def log_tail(self) -> str:
        """Return the last lines logged since the last start, and the output of Java itself."""
        return "\n".join([*self._log.read_tail(), *read_tail(self._data / JAVA_OUTPUT)])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _format(self, java: list[str], timeout_s: float) -> None:
        if not is_formatted(self._data / LOG_DIR):
            properties = self._write_settings(
                "format.properties", self._data / FORMATTING, port=1, controller_port=2
            )
            command = [*java[:1], *QUICK_JAVA, *java[1:]]
            format_storage(
                command,
                self._data / LOG_DIR,
                properties,
                self._cluster_id or new_cluster_id(),
                environ=_environment(),
                timeout_s=timeout_s,
            )

    def _choose_port(self, deadline: float) -> None:
        """Choose a free port at first; later, or if a port was requested, wait until that port is free."""
        if self._port == 0:
            self._port = free_port(self._host)
        # Another broker that answers there would be mistaken for this one.
        while not is_free(self._host, self._port):
            if time.monotonic() >= deadline:
                where = host_port(self._host, self._port)
                raise KafkaError(
                    f"cannot listen on {where}: it is in use. Stop the process that uses it, or choose another port"
                )
            time.sleep(POLL_S)

    def _launch(self, java: list[str], lock: FileLock) -> None:
        properties = self._write_settings(
            "server.properties", self._data / LOG_DIR, port=self._port, controller_port=free_port("127.0.0.1")
        )
        self._log.mark()
        options = [
            f"-Xmx{self._heap_mb}m",
            "-XX:+ExitOnOutOfMemoryError",
            *log_options(self._data),
        ]
        self._child = spawn(
            [*java[:1], *QUICK_JAVA, *options, *java[1:], "kafka.Kafka", str(properties)],
            cwd=self._data,
            output=self._data / JAVA_OUTPUT,
            environ=_environment(),
            pass_fds=[lock.fileno()],
        )

    def _wait(self, deadline: float) -> bool:
        """Wait until the broker answers; False if it ended or the deadline passed first."""
        host = LOOPBACK_OF.get(self._host, self._host)
        while self.poll() is None and time.monotonic() < deadline:
            if read_answers(host, self._port, timeout_s=2):
                return self.poll() is None
            time.sleep(POLL_S)
        return False

    def _write_settings(self, name: str, log_dir: Path, *, port: int, controller_port: int) -> Path:
        node = Node(log_dir, self._host, self._advertised_host, port, controller_port)
        path = self._data / name
        path.write_text(render_properties(server_settings(node) | self._settings), encoding="ascii")
        return path

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _environment() -> dict[str, str]:
    """Return this process's environment with file names in UTF-8, which Java takes from the locale."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}
