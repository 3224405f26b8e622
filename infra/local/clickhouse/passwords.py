"""The passwords of a data directory's accounts: generated once, and kept in files that only their owner can read.

The files are next to the directory, not in it: a query could read anything that the engine can read.
"""

from __future__ import annotations

import ctypes
import os
import secrets
from pathlib import Path

from endpoint_analytics.infra.local.system.private_files import write_private

WRITER = "default"
ANALYST = "analyst"

_RANDOM_BYTES = 24


def password_file(data: Path, user: str) -> Path:
    """Return the password file of a user of this data directory."""
    return data.with_name(f"{data.name}.{user}-password")


def ensure_password(path: Path) -> str:
    """Return the password in a file, generating it if there is none; raises OSError."""
    try:
        password = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        password = ""
    if not password:
        password = secrets.token_urlsafe(_RANDOM_BYTES)
        write_private(path, f"{password}\n")
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return password


def forget_variable(name: str) -> None:
    """Remove a secret from this process's environment, and from its original memory, which /proc shows to its user.

    The user's other processes have their own secrets and no need for this one.
    """
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    address = libc.getenv(os.fsencode(name))
    if address:
        ctypes.memset(address, 0, len(os.fsencode(os.environ.get(name, ""))))
    os.environ.pop(name, None)
