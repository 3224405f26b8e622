"""A part: the new requests of one replica in one export, until Kafka has them. Only data belongs here."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.otlp.identity import Identity


@dataclass(slots=True, eq=False)
class Part:
    """`keys` tell the spans from others, `starts` are the response starts that were used for them, by key.

    `dropped` counts the replica's rejected spans. `stored` says whether Kafka has the requests; it is made when they
    are queued.
    """

    replica: Identity
    requests: list[Logged] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    starts: dict[bytes, int] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    stored: asyncio.Future[bool] | None = None
