"""Whether the client is still connected: uses the socket that a WSGI server exposes, without waiting.

WSGI has no such query. Clients of a server that exposes nothing count as still connected: a lost client is then noticed
when the server fails to write to it, or not at all if the whole response fits the system's buffers.
"""

from __future__ import annotations

from typing import Any

from endpoint_analytics.agents.core.peer import peer_closed

_SOCKETS = ("gunicorn.socket", "werkzeug.socket")


def is_closed(environ: dict[str, Any]) -> bool:
    """Return whether the client has closed its side, if the server exposes that; makes a system call."""
    for name in _SOCKETS:
        socket = environ.get(name)
        if socket is not None:
            try:
                return peer_closed(socket.fileno())
            except (AttributeError, OSError, ValueError):
                return False
    query = environ.get("waitress.client_disconnected")  # works only with channel_request_lookahead > 0
    return bool(query()) if callable(query) else False
