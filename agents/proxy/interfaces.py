"""The interfaces that an exchange uses: its client, and what all exchanges of a proxy share."""

from __future__ import annotations

import asyncio
from typing import Protocol

from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.proxy.outcome_watch import ProxyWatcher
from endpoint_analytics.agents.proxy.pool import Pool
from endpoint_analytics.agents.proxy.reachability import UpstreamReachability
from endpoint_analytics.agents.proxy.settings import ProxySettings

BLOCKED, UNSENT, PIPELINED = 1, 2, 4
"""Why reading from a client is paused: the server is slow, or not connected yet, or a pipelined request must wait."""


class ProxyContext(Protocol):
    """What all exchanges of a proxy share. `unassigned` records requests for which no replica was reachable; requests
    for paths in `excluded` are not recorded. `watcher` watches exchanges for details; None: none are kept."""

    settings: ProxySettings
    loop: asyncio.AbstractEventLoop
    recorder: Recorder
    unassigned: Recorder
    excluded: frozenset[str]
    pool: Pool
    reachability: UpstreamReachability
    watcher: ProxyWatcher | None
    is_draining: bool


class ClientSide(Protocol):
    """The client's connection, as an exchange uses it."""

    transport: asyncio.Transport
    address: bytes

    def is_gone(self) -> bool:
        """Whether the client has hung up, even if the event loop has not noticed yet."""

    def pause(self, why: int) -> None:
        """Stop reading until every reason is withdrawn."""

    def resume(self, why: int) -> None:
        """Withdraw a reason for pausing."""

    def refuse(self, status: int, reason: str) -> None:
        """Write the proxy's own response, and finish as after any other."""

    def ended(self) -> None:
        """The complete response was passed on."""

    def tunnelled(self) -> None:
        """From now on the client's data belongs to the tunnel, including what it has already sent."""

    def cut(self, *, resets: bool) -> None:
        """The response ends here, and the client must see that it is incomplete."""
