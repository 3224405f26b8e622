"""The page's sessions as stored: how to open, end and read them. HTTP and caching do not belong here.

Only the SHA-256 of a session's secret is stored, so reading the table is not enough to forge a cookie. An ended session
replaces the open one, whichever is written first: `ended` is the row's version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_SESSIONS = 10_000
"""Maximum number of active sessions: the query service holds them all in memory."""
MAX_SESSIONS_A_TOKEN = 500
"""Only the newest sessions of each token are kept, so that repeated sign-ins do not push out other users."""

OPEN = """
INSERT INTO page_sessions (session_id, secret_sha256, token_id, opened_at, expires_at, ended) VALUES
({session_id:String}, {secret_sha256:String}, {token_id:String}, {opened_s:UInt32}, {expires_s:UInt32}, 0)
"""

END = """
INSERT INTO page_sessions (session_id, secret_sha256, token_id, opened_at, expires_at, ended) VALUES
({session_id:String}, {secret_sha256:String}, {token_id:String}, {opened_s:UInt32}, {expires_s:UInt32}, 1)
"""

ACTIVE = """
SELECT session_id, secret_sha256, token_id, toUnixTimestamp(opened_at), toUnixTimestamp(expires_at)
FROM page_sessions FINAL WHERE ended = 0 AND expires_at > {now_s:UInt32}
ORDER BY opened_at DESC, session_id LIMIT {a_token:UInt32} BY token_id LIMIT {limit:UInt32}
"""


@dataclass(frozen=True, slots=True)
class PageSession:
    """A stored session, without its secret; times in Unix seconds."""

    session_id: str
    secret_sha256: str = field(repr=False)
    token_id: str
    opened_s: int
    expires_s: int

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of OPEN and END."""
        return {
            "session_id": self.session_id,
            "secret_sha256": self.secret_sha256,
            "token_id": self.token_id,
            "opened_s": self.opened_s,
            "expires_s": self.expires_s,
        }


def active_parameters(now_s: float) -> dict[str, Any]:
    """Return the parameters of ACTIVE."""
    return {"now_s": int(now_s), "a_token": MAX_SESSIONS_A_TOKEN, "limit": MAX_SESSIONS}


def parse_rows(rows: Sequence[Sequence[Any]]) -> dict[str, PageSession]:
    """Return the sessions in the rows of ACTIVE, by id."""
    return {
        row[0]: PageSession(
            session_id=row[0],
            secret_sha256=row[1].decode() if isinstance(row[1], bytes) else row[1],
            token_id=row[2],
            opened_s=int(row[3]),
            expires_s=int(row[4]),
        )
        for row in rows
    }
