"""What an exchange sees on its two sides: the client that asks, and what all exchanges of a proxy share."""

from __future__ import annotations

import asyncio
from typing import Protocol

from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.proxy.pool import Pool
from endpoint_analytics.agents.proxy.presence import Presence
from endpoint_analytics.agents.proxy.settings import ProxySettings

BLOCKED, UNSENT, PIPELINED = 1, 2, 4
"""Why a client is not read: the server is slow, it is not connected yet, or this is not its turn."""


class Shared(Protocol):
    """What all exchanges of a proxy share. `unassigned` records the requests that no replica was there for; those of
    the paths `excluded` are not recorded."""

    settings: ProxySettings
    loop: asyncio.AbstractEventLoop
    recorder: Recorder
    unassigned: Recorder
    excluded: frozenset[str]
    pool: Pool
    presence: Presence
    is_draining: bool


class Client(Protocol):
    """The client's connection, as an exchange uses it."""

    transport: asyncio.Transport
    address: bytes

    def is_gone(self) -> bool:
        """Whether the client has hung up, seen by the event loop or not."""

    def pause(self, why: int) -> None:
        """Read no more until each reason is taken back."""

    def resume(self, why: int) -> None:
        """Take back a reason."""

    def refuse(self, status: int, reason: str) -> None:
        """Write a response of the proxy's own, and end as after any other."""

    def ended(self) -> None:
        """The response was handed over as a whole."""

    def tunnelled(self) -> None:
        """From now on all that the client sends is the tunnel's, what it sent before it knew included."""

    def cut(self, *, resets: bool) -> None:
        """The response ends here, and the client must see that it is incomplete."""
