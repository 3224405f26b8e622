"""The peer of worker.py: counts each event in a windowed Faust table. Prints events per second of its CPU."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from typing import Any

import faust

from endpoint_analytics.schemas.codec import decode_requests
from endpoint_analytics.schemas.topics import REQUESTS

RESULT = os.dup(1)


def main(brokers: str, data: str, events: int) -> None:
    """Count `events` events, print the rate, and exit."""
    app = faust.App(
        "faust-table",
        broker=f"kafka://{brokers}",
        datadir=data,
        store="memory://",
        web_enabled=False,
        topic_partitions=1,
        topic_disable_leader=True,
    )
    topic = app.topic(REQUESTS.name("bench"), value_serializer="raw", key_serializer="raw")
    counts = app.Table("counts", default=int, partitions=1).tumbling(10.0, expires=timedelta(hours=1))
    counted, begun_s = 0, 0.0

    @app.agent(topic)
    async def count(stream: faust.StreamT[Any]) -> None:
        nonlocal counted, begun_s
        async for value in stream:
            begun_s = begun_s or time.process_time()
            batch = decode_requests(value)
            responded, finished = batch.responded.status, batch.finished.status
            arrived = [0] * len(batch.arrived.at_us)
            for phase, statuses in (("arrived", arrived), ("responded", responded), ("finished", finished)):
                for status in statuses:
                    counts[f"{batch.replica_id}/{phase}/{status}"] += 1
                    counted += 1
            if counted >= events:
                rate = counted / (time.process_time() - begun_s)
                os.write(RESULT, f"{rate}\n".encode())  # Faust redirects sys.stdout into its log
                os._exit(0)

    faust.Worker(app, loglevel="ERROR").execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
