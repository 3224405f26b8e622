"""Named sessions: handles that are kept between requests, with their SETs and temporary tables.

As in ClickHouse, settings in a request's URL apply to that request only: they are undone afterwards.
Sessions expire once they have been idle for their timeout, and their number is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_analytics.infra.local.clickhouse.engine import ClickHouseEngine, Handle, quote
from endpoint_analytics.infra.local.clickhouse.errors import refusal
from endpoint_analytics.infra.local.clickhouse.request import SessionTicket

_MAX_SESSIONS = 2000


@dataclass(slots=True)
class EngineSession:
    """One named session. `database` is the one chosen by USE, `applied` the handle's current one."""

    name: str
    handle: Handle
    timeout_s: float
    expires_at: float = 0.0
    busy: bool = False
    altered: bool = False
    database: str = "default"
    applied: str = "default"
    before: dict[str, str] = field(default_factory=dict)

    def enter(self, settings: Mapping[str, str], parameters: Mapping[str, str], database: str) -> None:
        """Apply one request's settings, and remember the previous ones. Blocks on the engine."""
        self.before = self._values(settings)
        self.handle.set({**settings, **parameters})
        wanted = database or self.database
        if wanted != self.applied:
            self.handle.use(wanted)
            self.applied = wanted

    def leave(self, *, changed: bool) -> None:
        """Undo the request's settings; `changed` means that its statement was a SET or a USE."""
        if changed:
            self.altered = True
            current = (
                self.handle.execute(b"SELECT currentDatabase()", "TabSeparatedRaw")
                .output.decode()
                .rstrip("\n")
            )
            if current != self.applied:
                self.database = self.applied = current
        before, self.before = self.before, {}
        if before:
            pairs = ", ".join(f"{name} = {value}" for name, value in before.items())
            self.handle.execute(f"SET {pairs}".encode(errors="surrogateescape"))

    def _values(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the values to restore afterwards: the defaults, unless the session may have SET others."""
        before = dict.fromkeys(settings, "DEFAULT")
        if self.altered and settings:
            names = ", ".join(quote(name) for name in settings)
            sql = f"SELECT name, value FROM system.settings WHERE changed AND name IN ({names})"  # noqa: S608
            rows = self.handle.execute(sql.encode(errors="surrogateescape"), "TabSeparated").output.decode()
            for row in rows.splitlines():
                name, _, value = row.partition("\t")
                before[name] = f"'{value}'"
        return before


class EngineSessions:
    """All named sessions; used by one asyncio loop."""

    def __init__(self, engine: ClickHouseEngine) -> None:
        self._engine = engine
        self._sessions: dict[str, EngineSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def acquire(self, ticket: SessionTicket, user: str, now: float) -> EngineSession:
        """Return the session of a ticket, for the exclusive use of one request; raises ClickHouseError 372 or 373."""
        self.expire(now)
        key = f"{user}\0{ticket.session_id}"
        session = self._sessions.pop(key, None)
        if session is None:
            if ticket.must_exist:
                raise refusal(372, f"Session {ticket.session_id} not found.")
            if len(self._sessions) >= _MAX_SESSIONS:
                self._close_oldest()
            session = EngineSession(key, self._engine.open(), ticket.timeout_s)
        self._sessions[key] = session
        if session.busy:
            raise refusal(373, f"Session {ticket.session_id} is locked by a concurrent client.")
        session.timeout_s = ticket.timeout_s
        session.busy = True
        return session

    def release(self, session: EngineSession, now: float, *, close: bool = False) -> None:
        """Release a session; its idle time starts."""
        session.busy = False
        session.expires_at = now + session.timeout_s
        if close:
            self._drop(session)

    def expire(self, now: float) -> None:
        """Close sessions that have been idle for too long."""
        for session in [s for s in self._sessions.values() if not s.busy and s.expires_at <= now]:
            self._drop(session)

    def close(self) -> None:
        """Close all sessions that are not running a query."""
        for session in [s for s in self._sessions.values() if not s.busy]:
            self._drop(session)

    def _close_oldest(self) -> None:
        oldest = next((session for session in self._sessions.values() if not session.busy), None)
        if oldest is None:
            raise refusal(202, "Too many sessions.")
        self._drop(oldest)

    def _drop(self, session: EngineSession) -> None:
        self._sessions.pop(session.name, None)
        session.handle.close()
