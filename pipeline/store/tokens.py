"""Access tokens: how they are created, stored and checked. HTTP and caching do not belong here.

A token is `eat_<token_id>_<secret>`. The id is public and identifies the row; the secret is 256 random bits, of which
only the SHA-256 is stored. A plain hash is enough: 256 random bits cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from endpoint_analytics.pipeline.store.connect import Client
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.schemas.identity import check_name

ALL_NAMESPACES = "*"
MAX_TOKENS = 10_000
"""Maximum number of active tokens: the query service holds them all in memory."""
MAX_LABEL_LENGTH = 200

_TOKEN = re.compile(r"eat_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
_NO_SECRET_SHA256 = "0" * 64


class TokenError(StoreError):
    """A token cannot be created or revoked as requested."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A stored token, without its secret."""

    token_id: str
    secret_sha256: str = field(repr=False)
    namespace: str
    label: str
    created_at: datetime
    revoked: bool

    def opens(self, namespace: str) -> bool:
        """Whether the token grants access to this namespace."""
        return self.namespace in (ALL_NAMESPACES, namespace)


INSERT = """
INSERT INTO tokens (token_id, secret_sha256, namespace, label, created_at, revoked, version) VALUES
({token_id:String}, {secret_sha256:String}, {namespace:String}, {label:String}, {created_at:DateTime}, 0, 1)
"""

LIST = """
SELECT token_id, secret_sha256, namespace, label, created_at, revoked
FROM tokens FINAL ORDER BY created_at, token_id
"""

# The limit bounds memory even if rows were inserted by other means; the oldest tokens are kept.
ACTIVE = """
SELECT token_id, secret_sha256, namespace, label, created_at, revoked
FROM tokens FINAL WHERE revoked = 0 ORDER BY created_at, token_id LIMIT {limit:UInt32}
"""

COUNT = "SELECT countIf(revoked = 0) FROM tokens FINAL"

FIND = "SELECT revoked FROM tokens FINAL WHERE token_id = {token_id:String}"

REVOKE = """
INSERT INTO tokens SELECT token_id, secret_sha256, namespace, label, created_at, 1, version + 1
FROM tokens FINAL WHERE token_id = {token_id:String}
"""


def sha256_hex(secret: str) -> str:
    """Return the stored form of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def parse_token(text: str) -> tuple[str, str] | None:
    """Return (token_id, secret), or None if `text` does not have the format of a token."""
    match = _TOKEN.fullmatch(text)
    return (match[1], match[2]) if match else None


def verify(text: str, tokens: Mapping[str, AccessToken]) -> AccessToken | None:
    """Return the active token that `text` is, or None; an unknown id takes as long as a wrong secret."""
    parsed = parse_token(text)
    if parsed is None:
        return None
    token_id, secret = parsed
    known = tokens.get(token_id)
    stored = _NO_SECRET_SHA256 if known is None else known.secret_sha256
    same = hmac.compare_digest(sha256_hex(secret), stored)
    return known if same and known is not None and not known.revoked else None


def parse_rows(rows: Sequence[Sequence[Any]]) -> tuple[AccessToken, ...]:
    """Return the tokens in the rows of LIST or ACTIVE."""
    return tuple(
        AccessToken(
            token_id=row[0],
            secret_sha256=row[1].decode() if isinstance(row[1], bytes) else row[1],
            namespace=row[2],
            label=row[3],
            created_at=row[4],
            revoked=bool(row[5]),
        )
        for row in rows
    )


def create_token(client: Client, namespace: str, label: str, now: datetime) -> str:
    """Store a new token for `namespace` (`*` for all) and return it: it can never be shown again.

    Raises InvalidMessageError for an invalid namespace, TokenError for an invalid label or too many tokens.

    """
    if namespace != ALL_NAMESPACES:
        check_name("namespace", namespace)
    if len(label) > MAX_LABEL_LENGTH or not label.isprintable():
        raise TokenError(f"a label must have at most {MAX_LABEL_LENGTH} characters, all printable")
    if int(client.query(COUNT).result_rows[0][0]) >= MAX_TOKENS:
        raise TokenError(
            f"there are already {MAX_TOKENS} active tokens: revoke some with 'endpoint-analytics token revoke'"
        )
    token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    parameters = {
        "token_id": token_id,
        "secret_sha256": sha256_hex(secret),
        "namespace": namespace,
        "label": label,
        "created_at": now.replace(microsecond=0, tzinfo=None),
    }
    client.command(INSERT, parameters=parameters)
    return f"eat_{token_id}_{secret}"


def list_tokens(client: Client) -> tuple[AccessToken, ...]:
    """Return all tokens, including revoked ones, oldest first."""
    return parse_rows(client.query(LIST).result_rows)


def revoke_token(client: Client, token_id: str) -> bool:
    """Revoke the token; returns False if it already was. Raises TokenError for an unknown id."""
    found = client.query(FIND, parameters={"token_id": token_id}).result_rows
    if not found:
        raise TokenError(f"there is no token {token_id!r}: 'endpoint-analytics token list' shows all tokens")
    if found[0][0]:
        return False
    client.command(REVOKE, parameters={"token_id": token_id})
    return True
