"""A replica for the spool's tests, as a process of its own: `python replica.py`, set by the environment.

It records RATE requests a flush until it is killed, and prints a line of JSON after each flush: its boot, and
what had been accepted, sent and spooled by then.
"""

from __future__ import annotations

import json
import logging
import os
import time

from endpoint_analytics.agents.core.config import read_config
from endpoint_analytics.agents.replica.agent import Agent


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    agent = Agent(read_config(hardware=False))
    agent.start()
    flushes = 0
    while True:
        for _ in range(int(os.environ.get("RATE", "5"))):
            request = agent.recorder.arrive()
            request.respond(200)
            request.finish()
        while (snapshot := agent.snapshot()).flushes == flushes and snapshot.spool.adopted_bytes == 0:
            time.sleep(0.001)
        flushes = snapshot.flushes
        reported = {
            "boot_id": agent.boot_id,
            "arrived": snapshot.totals.arrived,
            "flushes": flushes,
            "waiting": snapshot.waiting["requests"],
            "spooled": snapshot.spool.waiting.get("requests", 0),
            "adopted_bytes": snapshot.spool.adopted_bytes,
            "sent": snapshot.sent["requests"],
        }
        print(json.dumps(reported), flush=True)
        if snapshot.spool.adopted_bytes:
            time.sleep(0.005)


if __name__ == "__main__":
    main()
