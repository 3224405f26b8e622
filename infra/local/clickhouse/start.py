"""From arguments to a serving process: lock the directory, listen, confine the process, then start the engine.

The order matters: the ClickHouse engine and its dependencies are imported only after this process is confined, since
threads started earlier are not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from endpoint_analytics.infra.local.clickhouse.accounts import Account
from endpoint_analytics.infra.local.clickhouse.confine import confine
from endpoint_analytics.infra.local.system.data_directory import lock_directory

_log = logging.getLogger(__name__)

_DESCRIPTORS = 65536


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where to listen, the accounts, the allowed host names, and how long a client may stall."""

    host: str
    port: int
    accounts: Sequence[Account]
    allowed_hosts: frozenset[str] = frozenset()
    stall_timeout_s: float = 30.0


def start(
    directory: Path, service: ServerSettings, ready: Callable[[str], None], *, until_stdin_closes: bool
) -> None:
    """Serve until stopped. `ready` is called with the URL once the server answers.

    Raises DirectoryInUseError, and OSError if the address is not available.
    """
    _raise_descriptor_limit()
    with lock_directory(directory):
        family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((service.host, service.port))
            listener.listen(512)
            temporary = directory / "tmp"
            temporary.mkdir(exist_ok=True)
            os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
            if unrestricted := confine(directory):
                _log.warning(
                    "this kernel cannot restrict queries' access to: %s. Anything that privileges do not cover is open "
                    "to anyone with a password",
                    ", ".join(unrestricted),
                )
            from endpoint_analytics.infra.local.clickhouse.server import serve

            serve(directory, service, listener, ready, until_stdin_closes=until_stdin_closes)


def _raise_descriptor_limit() -> None:
    """Raise the limit: tables consist of many files, and the engine keeps some open per thread."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
