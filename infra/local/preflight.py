"""Checks before anything starts: the data directory, disk space, and ports. Each error says how to fix it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from endpoint_analytics.infra.local.disk_space import MIB, read_free_space
from endpoint_analytics.infra.local.system.port import free_port, is_free
from endpoint_analytics.infra.local.system.private_files import make_private_directory

HOST = "127.0.0.1"
NEEDED_BYTES = 1024 * MIB
USUAL_PORTS = {"kafka": 9092, "clickhouse": 8123, "serve": 8080, "demo": 8000}
PORTS_FILE = "ports.json"


class PreflightError(Exception):
    """The run cannot start; the message says why, and how to fix it."""


def prepare_directory(data: Path) -> None:
    """Create the directory and check for free space; raises PreflightError."""
    try:
        for directory in (data, data / "logs"):
            make_private_directory(directory)
        free_bytes = read_free_space(data).free_bytes
    except OSError as error:
        raise PreflightError(f"cannot use {data} for data: {error}; choose another with --data") from error
    if free_bytes < NEEDED_BYTES:
        raise PreflightError(
            f"only {free_bytes / MIB:.0f} MiB are free on the disk of {data}, and {NEEDED_BYTES / MIB:.0f} MiB "
            "are needed: free some space, or choose another directory with --data"
        )


def choose_ports(data: Path, asked: Mapping[str, int | None]) -> dict[str, int]:
    """Return a free port for each name: the requested one, else that of the last run, else the usual one, else any.

    Raises PreflightError if a requested port is in use.
    """
    before = _read_ports(data / PORTS_FILE)
    chosen: dict[str, int] = {}
    for name, port in asked.items():
        if port and (port in chosen.values() or not is_free(HOST, port)):
            raise PreflightError(
                f"port {port} on {HOST} is in use: choose another --{name}-port, or omit it to use a free one"
            )
        wanted = [port] if port else [before.get(name), USUAL_PORTS[name]]
        if port == 0:
            wanted = []
        fitting = [one for one in wanted if one and one not in chosen.values() and is_free(HOST, one)]
        chosen[name] = fitting[0] if fitting else _other_port(chosen)
    (data / PORTS_FILE).write_text(json.dumps(before | chosen) + "\n", encoding="ascii")
    return chosen


def _other_port(chosen: Mapping[str, int]) -> int:
    while (port := free_port(HOST)) in chosen.values():
        pass
    return port


def _read_ports(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text(encoding="ascii"))
        return {str(name): int(port) for name, port in found.items() if 0 < int(port) < 65_536}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
