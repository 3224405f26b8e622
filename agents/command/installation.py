"""How this package was installed, so that hints name an install command that works here.

Reads only what pip itself recorded (direct_url.json, PEP 610): a directory, a wheel, or nothing for an index.
"""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

NAME = "endpoint-analytics"


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this installation."""
    return f"pip install {shlex.quote(f'{installed_from()}[{extra}]')}"


def installed_from() -> str:
    """Return what pip installed: a path, or the package name if it came from an index."""
    try:
        recorded = metadata.distribution(NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return NAME
    return parse_direct_url(recorded) or NAME


def parse_direct_url(recorded: str | None) -> str | None:
    """Return the local path in a PEP 610 record; None if it has none or the path no longer exists."""
    try:
        url = urlsplit(json.loads(recorded or "{}")["url"])
    except (ValueError, KeyError, TypeError):
        return None
    path = url2pathname(url.path)
    return path if url.scheme == "file" and Path(path).exists() else None
