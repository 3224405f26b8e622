"""The passwords of a data directory's accounts: made once, and kept in files that their owner alone can read.

They lie beside the directory, not in it: what the engine can read, a query could.
"""

from __future__ import annotations

import ctypes
import os
import secrets
from pathlib import Path

from endpoint_analytics.infra.local.system.private import write_private

WRITER = "default"
ANALYST = "analyst"

_RANDOM_BYTES = 24


def password_file(data: Path, user: str) -> Path:
    """Where the password of a user of this data directory lies."""
    return data.with_name(f"{data.name}.{user}-password")


def ensure_password(path: Path) -> str:
    """The password in a file, which is made when there is none; raises OSError."""
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
    """Take a secret from this process's variables, and from where it stood at the start: /proc shows that to its user.

    The other programs of this user have their own secrets, and no use for ours.
    """
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    address = libc.getenv(os.fsencode(name))
    if address:
        ctypes.memset(address, 0, len(os.fsencode(os.environ.get(name, ""))))
    os.environ.pop(name, None)
