"""From arguments to a serving process: the directory's lock, the socket, the kernel's walls, and then the engine.

The order is the point: the engine and all that it brings are imported only when this process is shut in, since threads
that run before are not.
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
from endpoint_analytics.infra.local.clickhouse.lock import lock_directory

_log = logging.getLogger(__name__)

_DESCRIPTORS = 65536


@dataclass(frozen=True, slots=True)
class Service:
    """Where to listen, who may ask, under which names, and how long a client may stall."""

    host: str
    port: int
    accounts: Sequence[Account]
    allowed_hosts: frozenset[str] = frozenset()
    stall_timeout_s: float = 30.0


def start(
    directory: Path, service: Service, ready: Callable[[str], None], *, until_stdin_closes: bool
) -> None:
    """Serve until stopped. `ready` is called with the URL once the server answers.

    Raises DirectoryHeldError, and OSError when the address cannot be had.
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
            if left := confine(directory):
                _log.warning(
                    "this system's kernel does not keep queries from: %s. What privileges do not cover is open to who "
                    "has a password",
                    ", ".join(left),
                )
            from endpoint_analytics.infra.local.clickhouse.server import serve

            serve(directory, service, listener, ready, until_stdin_closes=until_stdin_closes)


def _raise_descriptor_limit() -> None:
    """Tables are many files, and the engine keeps some open for each thread."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
