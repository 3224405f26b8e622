"""Is the client still there? What each WSGI server tells an application of its socket, read without waiting.

WSGI has no such question. A server that tells nothing counts as "still there": a client that went is seen then
when the server fails to write to it, or not at all where the whole response fits the system's buffers.
"""

from __future__ import annotations

from typing import Any

from endpoint_analytics.agents.core.peer import peer_closed

_SOCKETS = ("gunicorn.socket", "werkzeug.socket")


def is_closed(environ: dict[str, Any]) -> bool:
    """Return whether the client has closed its side, as far as the server tells; a system call."""
    for name in _SOCKETS:
        socket = environ.get(name)
        if socket is not None:
            try:
                return peer_closed(socket.fileno())
            except (AttributeError, OSError, ValueError):
                return False
    asked = environ.get("waitress.client_disconnected")  # sees it with channel_request_lookahead > 0
    return bool(asked()) if callable(asked) else False
