"""Two endpoints with two replicas each and five hours of traffic, stored and rolled up: rows, and what is true."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.serve.api.traffic import Request, make_requests, window_rows
from tests.pipeline.store.rows import boot, insert, text

from endpoint_analytics.pipeline.store.connect import Client
from endpoint_analytics.pipeline.store.rollup import roll_up

HOURS = 5
BOOTS = {"llm": [("r1", "b1"), ("r2", "b2")], "chat": [("r1", "b3"), ("r9", "b4")]}
STATUSES = {200: 5, 503: 1}
"""Of each boot."""


def insert_two_endpoints(client: Client) -> dict[str, list[Request]]:
    """Insert the rows, which stay current for an hour; returns the requests of each endpoint."""
    now = datetime.now(UTC)
    end_s = int(now.timestamp()) // 10 * 10
    begin_s = end_s - HOURS * 3600
    first_at = text(datetime.fromtimestamp(begin_s, UTC))
    found = {}
    for number, (endpoint, boots) in enumerate(BOOTS.items()):
        found[endpoint] = make_requests(boots, begin_s, end_s, 10, random.Random(number))
        rows = window_rows(found[endpoint], [])
        insert(client, "request_windows", [{**row, "endpoint": endpoint} for row in rows])
        heard = [
            boot(now, endpoint=endpoint, replica=replica, boot_id=boot_id, age_s=-3600, status=STATUSES)
            for replica, boot_id in boots
        ]
        insert(client, "boot_states", [{**row, "first_at": first_at} for row in heard])
    asyncio.run(roll_up(ClientExecutor(client)))
    return found
