"""Whether the peer has closed a socket: asks the kernel, without reading."""

from __future__ import annotations

import select

_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)  # Linux only


def peer_closed(descriptor: int) -> bool:
    """Return whether the socket's peer has closed its side, even with unread data (Linux)."""
    if not _PEER_CLOSED or descriptor < 0:
        return False
    poll = select.poll()
    poll.register(descriptor, _PEER_CLOSED)
    try:
        return bool(poll.poll(0))
    except OSError:
        return True
