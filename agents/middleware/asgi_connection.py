"""Whether the client is still connected: reads each ASGI server's own state, without waiting.

ASGI has no such query: a server reports a lost client only to an application that calls `receive`, and silently
discards what is sent afterwards. So the few facts that servers keep are read here, in one place per server. Clients of
an unknown server count as still connected; then its own `http.disconnect` is the only source.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from endpoint_analytics.agents.core.peer import peer_closed

logger = logging.getLogger("endpoint_analytics")

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Server:
    """How to query one kind of server about a request; `owner` is the object that `receive` belongs to.

    `is_gone(owner)`: anything sent now would be discarded. `was_lost(owner)`: what was just sent was discarded.
    `is_closed(owner)`: the peer has closed its side, but the busy event loop has not noticed yet; this is a system
    call, made only after a slow period. `unanswered_handshake` is the status that the server sends for a websocket that
    the application has neither accepted nor refused.
    """

    is_gone: Callable[[Any], bool]
    was_lost: Callable[[Any], bool]
    is_closed: Callable[[Any], bool]
    unanswered_handshake: int = 500


def _no(_owner: object) -> bool:
    return False


def _cycle_is_gone(cycle: Any) -> bool:
    # `is_closing` is set first, and is the only sign for a pipelined request (uvicorn marks only the connection's
    # newest request as disconnected).
    try:
        return bool(cycle.disconnected or cycle.transport.is_closing())
    except AttributeError:
        return _is_unfamiliar(type(cycle).__module__)


def _cycle_was_lost(cycle: Any) -> bool:
    # uvicorn sets it only while the response is incomplete; after the last byte it stays False.
    try:
        return bool(cycle.disconnected)
    except AttributeError:
        return _is_unfamiliar(type(cycle).__module__)


def _cycle_is_closed(cycle: Any) -> bool:
    try:
        socket = cycle.transport.get_extra_info("socket")
        return socket is not None and peer_closed(socket.fileno())
    except AttributeError:
        return _is_unfamiliar(type(cycle).__module__)


@lru_cache(maxsize=8)
def _is_unfamiliar(module: str) -> bool:
    """Log once that this uvicorn release stores its state elsewhere; its clients count as still connected."""
    logger.warning(
        "%s does not show whether its client is connected: some aborted requests will count as finished",
        module,
    )
    return False


def _queue_is_gone(queue: QueueReceive) -> bool:
    return queue.is_gone()


UNKNOWN = Server(_no, _no, _no)
UVICORN = Server(_cycle_is_gone, _cycle_was_lost, _cycle_is_closed)
QUEUE = Server(_queue_is_gone, _no, _no)
GRANIAN = Server(_no, _no, _no, unanswered_handshake=403)


@lru_cache(maxsize=64)
def server_of(owner_type: Any) -> Server:
    """Return how to query the server whose `receive` is a method of the class `owner_type`."""
    if owner_type.__name__ == "RequestResponseCycle" and owner_type.__module__.startswith("uvicorn."):
        return UVICORN
    if issubclass(owner_type, QueueReceive):
        return QUEUE
    if owner_type.__module__.startswith("granian."):
        return GRANIAN
    return UNKNOWN


class QueueReceive:
    """`receive` for a server that passes its `asyncio.Queue.get` to the application (hypercorn, daphne).

    To find an `http.disconnect` behind messages that the application has not received yet, those are taken out of the
    queue and kept for it, at most BUFFERED of them, and no further than one piece of an unfinished body.
    """

    __slots__ = ("_gone", "_kept", "_queue", "_waiting")

    BUFFERED = 8

    def __init__(self, queue: asyncio.Queue[Message]) -> None:
        self._queue = queue
        self._kept: deque[Message] = deque()
        self._waiting = 0
        self._gone = False

    async def receive(self) -> Message:
        """Return the next message, kept or new."""
        if self._kept:
            return self._kept.popleft()
        self._waiting += 1
        try:
            return await self._queue.get()
        finally:
            self._waiting -= 1

    def is_gone(self) -> bool:
        """Return whether an `http.disconnect` is queued; never while the application itself waits for one."""
        while not (self._gone or self._waiting or self._queue.empty() or len(self._kept) >= self.BUFFERED):
            if self._kept and self._kept[-1].get("more_body"):
                break
            message = self._queue.get_nowait()
            self._kept.append(message)
            self._gone = message["type"] == "http.disconnect"
        return self._gone
