"""Live traffic: sends the planned requests over persistent connections, and counts the responses.

The client chooses a replica like a simple load balancer: the less busy of two random ones.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from endpoint_analytics.infra.local.demo.arrivals import Arrivals
from endpoint_analytics.infra.local.demo.inputs import Plan, choose

MAX_OPEN = 200
REQUEST_S = 30.0


@dataclass(slots=True)
class TrafficTarget:
    """A replica as the balancer sees it."""

    replica_id: str
    url: str
    open: int = 0


@dataclass(slots=True)
class Tally:
    """What the clients saw: requests sent, responses by status, and requests that ended early."""

    sent: Counter[str] = field(default_factory=Counter)
    status: Counter[int] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    skipped: int = 0

    def as_dict(self) -> dict[str, object]:
        """Return it for a JSON file."""
        return {
            "sent": dict(sorted(self.sent.items())),
            "status": {str(code): count for code, count in sorted(self.status.items())},
            "left": dict(sorted(self.left.items())),
            "broken": self.broken,
            "skipped": self.skipped,
        }


def pick(targets: Sequence[TrafficTarget], rng: random.Random) -> TrafficTarget | None:
    """Return the less busy of two random targets; None if there are none."""
    if not targets:
        return None
    return min(rng.sample(targets, min(2, len(targets))), key=lambda target: target.open)


class Traffic:
    """Sends requests until cancelled. `targets` returns the replicas that accept requests now."""

    def __init__(self, targets: Callable[[], Sequence[TrafficTarget]], arrivals: Arrivals, seed: int) -> None:
        self.tally = Tally()
        self._targets = targets
        self._arrivals = arrivals
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send until cancelled; on cancellation, all open requests are cancelled too."""
        if not self._arrivals.rate:
            await asyncio.Event().wait()
        loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(limit=MAX_OPEN, keepalive_timeout=30)
        timeout = aiohttp.ClientTimeout(total=REQUEST_S, sock_connect=3)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            began_s = loop.time()
            try:
                for at_s in self._arrivals.times(self._rng):
                    delay_s = began_s + at_s - loop.time()
                    if delay_s < -5:  # the machine was suspended: do not catch up
                        began_s -= delay_s
                    elif delay_s > 0.001:
                        await asyncio.sleep(delay_s)
                    self._send(session, choose(self._rng))
            finally:
                for task in self._running:
                    task.cancel()
                await asyncio.gather(*self._running, return_exceptions=True)

    def _send(self, session: aiohttp.ClientSession, plan: Plan) -> None:
        target = pick(self._targets(), self._rng)
        if target is None or len(self._running) >= MAX_OPEN:
            self.tally.skipped += 1
            return
        task = asyncio.create_task(self._request(session, plan, target))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _request(self, session: aiohttp.ClientSession, plan: Plan, target: TrafficTarget) -> None:
        self.tally.sent[target.replica_id] += 1
        target.open += 1
        patience_s = plan.patience_s if plan.leaves != "never" else None
        try:
            async with asyncio.timeout(patience_s):
                async with session.request(
                    plan.method, target.url + plan.path, data=_body(plan), allow_redirects=False
                ) as response:
                    self.tally.status[response.status] += 1
                    async for _ in response.content.iter_any():
                        pass
        except TimeoutError:
            self.tally.left[plan.leaves] += 1
        except (aiohttp.ClientError, OSError):
            self.tally.broken += 1
        finally:
            target.open -= 1


def _body(plan: Plan) -> AsyncIterator[bytes] | bytes | None:
    if len(plan.pieces) > 1:
        return _pieces(plan)
    return plan.pieces[0] if plan.pieces else None


async def _pieces(plan: Plan) -> AsyncIterator[bytes]:
    for index, piece in enumerate(plan.pieces):
        if index:
            await asyncio.sleep(plan.gap_s)
        yield piece
