"""`endpoint-analytics run`: runs everything on this machine, each part once the parts it needs are up.

Only the order, the arguments and the signals belong here. Each part is a separate process that ends with
this one, even on `kill -9`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from endpoint_analytics.agents.command.installation import install_command
from endpoint_analytics.infra.local.disk_space import (
    FreeSpace,
    State,
    message_for,
    read_free_space,
    state_after,
)
from endpoint_analytics.infra.local.plan import STOP_ORDER, Installation, databases, programs
from endpoint_analytics.infra.local.preflight import PreflightError, choose_ports, prepare_directory
from endpoint_analytics.infra.local.setup import SetupError, make_tables, make_token, make_topics
from endpoint_analytics.infra.local.supervise import GivenUpError, Part, Supervisor
from endpoint_analytics.infra.local.system.data_directory import DirectoryInUseError, lock_directory
from endpoint_analytics.infra.local.terminal import Terminal
from endpoint_analytics.schemas.configuration.settings import number_option, port_option

POLL_EVERY_S = 0.1
CHECK_DISK_EVERY_S = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEMO_PACKAGES = ("magika", "onnxruntime")


class _AskedToEndError(Exception):
    """A signal asked the run to end."""


class _DiskAwareSupervisor(Supervisor):
    """A supervisor that starts nothing while the disk of the data is full."""

    def __init__(self, parts: Sequence[Part], terminal: Terminal, data: Path) -> None:
        super().__init__(parts, terminal.show)
        self._terminal = terminal
        self._data = data
        self._space: State = "ample"
        self._check_disk_at_s = 0.0

    def check(self, now_s: float) -> None:
        """Check the disk once a second, and every part; raises GivenUpError."""
        if now_s >= self._check_disk_at_s:
            self._check_disk_at_s = now_s + CHECK_DISK_EVERY_S
            with suppress(OSError):
                self._check_disk(read_free_space(self._data))
        super().check(now_s)

    def _check_disk(self, space: FreeSpace) -> None:
        before, self._space = self._space, state_after(self._space, space)
        if message := message_for(before, self._space, space, self._data):
            self._terminal.warn(message)
        self.held = self._space == "full"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="directory for all data and logs (default: ./data)",
    )
    _add_port(parser, "kafka", "port of Kafka (default: the last run's, else 9092, else a free one)")
    _add_port(
        parser, "clickhouse", "port of ClickHouse (default: the last run's, else 8123, else a free one)"
    )
    _add_port(
        parser, "serve", "port of the query service (default: the last run's, else 8080, else a free one)"
    )
    _add_port(
        parser,
        "demo",
        "port of the demo's first replica (default: the last run's, else 8000, else a free one)",
    )
    parser.add_argument(
        "--no-demo", action="store_true", help="do not start the demo endpoint and its traffic"
    )
    parser.add_argument(
        "--rate",
        type=number_option(0, 1000),
        default=30.0,
        metavar="N",
        help="requests per second sent to the demo (default: %(default)g)",
    )
    parser.add_argument(
        "--pace",
        type=number_option(0, 20),
        default=1.0,
        metavar="N",
        help="speed of the demo's timetable; at 10, replicas restart and scale ten times as often "
        "(default: %(default)g)",
    )


def _add_port(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    parser.add_argument(f"--{name}-port", type=port_option, metavar="PORT", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Run until a signal arrives (returns 0) or a part keeps failing (returns 1)."""
    missing = [] if arguments.no_demo else [name for name in DEMO_PACKAGES if find_spec(name) is None]
    if missing:
        return _fail(
            f"the demo needs {' and '.join(missing)}, which are not installed: {install_command('demo')}, or skip the "
            "demo with --no-demo"
        )
    terminal = Terminal(sys.stdout)
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(130)  # the second signal: exit now. The kernel kills the parts
        stopping.set()

    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # respect nohup
            signal.signal(number, stop)
    os.umask(0o077)  # only the user may read what a run writes
    data = arguments.data.resolve()
    try:
        prepare_directory(data)
        lock = lock_directory(data)
        names = ("kafka", "clickhouse", "serve") + (() if arguments.no_demo else ("demo",))
        asked = {name: getattr(arguments, f"{name}_port") for name in names}
        installation = Installation(
            data, choose_ports(data, asked), arguments.rate, arguments.pace, not arguments.no_demo
        )
    except (PreflightError, DirectoryInUseError, OSError) as error:
        return _fail(str(error))
    supervisor = _DiskAwareSupervisor(databases(installation, terminal), terminal, data)
    status = _start_and_tend(supervisor, installation, terminal, stopping)
    lock.release()
    if supervisor.has_abandoned:
        os._exit(status)  # do not wait for the threads of an unfinished download
    return status


def _start_and_tend(
    supervisor: Supervisor, installation: Installation, terminal: Terminal, stopping: threading.Event
) -> int:
    began_s = time.monotonic()
    error = ""
    try:
        terminal.print(f"\nEndpoint Analytics, data in {installation.data}\n")
        _until(lambda: supervisor.is_up, supervisor, stopping)
        for name, work in (("Topics", make_topics), ("Tables", make_tables), ("Token", make_token)):
            _in_background(name, work, installation, supervisor, terminal, stopping)
        supervisor.add(programs(installation, terminal))
        _until(lambda: supervisor.is_up, supervisor, stopping)
        terminal.print(greeting(installation, time.monotonic() - began_s))
        _until(lambda: False, supervisor, stopping)
    except _AskedToEndError:
        pass
    except (GivenUpError, SetupError) as failure:
        error = str(failure)
    terminal.forget()
    terminal.print("\nStopping.\n")
    supervisor.stop(STOP_ORDER)
    return _fail(error) if error else 0


def _until(reached: Callable[[], bool], supervisor: Supervisor, stopping: threading.Event) -> None:
    while True:
        supervisor.check(time.monotonic())
        if reached():
            return
        if stopping.wait(POLL_EVERY_S):
            raise _AskedToEndError


def _in_background(
    name: str,
    work: Callable[[Installation], str],
    installation: Installation,
    supervisor: Supervisor,
    terminal: Terminal,
    stopping: threading.Event,
) -> None:
    """Run a setup step in a thread, so that signals are still handled."""
    began_s = time.monotonic()
    terminal.begin(name)
    outcome: list[str | BaseException] = []

    def do() -> None:
        try:
            outcome.append(work(installation))
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            outcome.append(error)

    threading.Thread(target=do, name=f"set-up-{name}", daemon=True).start()
    _until(lambda: bool(outcome), supervisor, stopping)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    terminal.done(name, outcome[0], time.monotonic() - began_s)


def greeting(installation: Installation, seconds: float) -> str:
    """Return the text shown once everything is up: addresses, and commands to try."""
    token = f"$(cat {shlex.quote(str(installation.token))})"
    analyst = f"$(cat {shlex.quote(str(installation.analyst_password))})"
    endpoint = "demo/magika" if installation.demo else "NAMESPACE/ENDPOINT"
    query = "SELECT replica_id, sum(arrived), max(pending_max) FROM requests_10s GROUP BY 1 FORMAT Pretty"
    topics = "endpoint-analytics.requests, .hardware, .engine, .replicas, .signals, .rejected"
    lines = [
        ("Page", f"{installation.serve_url}/ (sign in with the token in {installation.token})"),
        ("OpenMetrics", f'curl -H "Authorization: Bearer {token}" \\'),
        ("", f"     {installation.serve_url}/v2/endpoint/{endpoint}/open-metrics"),
        ("SQL", f'curl -u "analyst:{analyst}" \\'),
        ("", f"     '{installation.clickhouse_url}/?database=endpoint_analytics' \\"),
        ("", f'     --data-binary "{query}"'),
        ("Kafka", f"{installation.kafka}, topics {topics}"),
    ]
    if installation.demo:
        content = "SELECT name FROM users WHERE id > 10;"
        request = f"curl -d '{content}' http://127.0.0.1:{installation.ports['demo']}/predict"
        lines.append(("Demo model", request))
    else:
        lines.append(
            ("Your model", f"ENDPOINT_ANALYTICS_KAFKA={installation.kafka} (docs/instrument/README.md)")
        )
    lines += [
        ("Tokens", f"{shlex.quote(sys.argv[0])} token create --namespace NAMESPACE \\"),
        ("", f"     --clickhouse-url {installation.clickhouse_url} \\"),
        ("", f"     --clickhouse-password-file {shlex.quote(str(installation.clickhouse_password))}"),
        ("Data, logs", f"{installation.data}, {installation.logs}"),
    ]
    text = "\n".join(f"  {name:<13} {words}" for name, words in lines)
    return f"\nEndpoint Analytics is ready, after {seconds:.1f} s.\n\n{text}\n\nPress Ctrl-C to stop everything.\n"


def _fail(text: str) -> int:
    print(f"endpoint-analytics run: {text}", file=sys.stderr, flush=True)
    return 1
