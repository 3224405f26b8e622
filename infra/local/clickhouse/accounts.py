"""The accounts: the writer, who may do everything the engine allows, and the analyst, who may only read.

Pure. Passwords are kept only as digests, so they cannot be read from this process's memory or environment.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the server; `reads_only` is the analyst."""

    user: str
    digest: bytes = field(repr=False)
    reads_only: bool = False


def make_account(user: str, password: str, *, reads_only: bool = False) -> Account:
    """Return an account with this password."""
    return Account(user, _digest(password), reads_only)


def find_account(accounts: Sequence[Account], user: str, password: str) -> Account | None:
    """Return the account with this name and password; takes the same time for a wrong name or a wrong password."""
    digest = _digest(password)
    found = None
    for account in accounts:
        right_name = hmac.compare_digest(user.encode(errors="surrogateescape"), account.user.encode())
        if hmac.compare_digest(digest, account.digest) and right_name:
            found = account
    return found


def _digest(password: str) -> bytes:
    # Passwords are usually 24 random bytes: a slow hash would add no protection and delay every request.
    return hashlib.sha256(password.encode(errors="surrogateescape")).digest()
