"""The delay from a request's last byte to its appearance in the open-metrics endpoint, with default settings.

A replica serves a request now and then, at times unrelated to the agent's flushes; the endpoint is polled until it has
counted it. There is no peer: the promise is 2 seconds.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from tests.benchmarks.results import Figure
from tests.integration.replica import Replica
from tests.support.parts import Stack

REQUESTS = 100


def main() -> list[Figure]:
    """Print the median, the 99th percentile and the maximum, in seconds."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as directory, Stack(Path(directory), serve_flags=()) as stack:
        replica = Replica(stack, "fresh", "fresh-0").start()
        waited = []
        for number in range(1, REQUESTS + 1):
            time.sleep(rng.random())
            replica.get("/status/200")
            ended = time.perf_counter()
            while stack.samples("fresh", "http_requests_total").get(("fresh-0", "200"), 0) < number:
                time.sleep(0.02)
            waited.append(time.perf_counter() - ended)
        replica.child.stop()
    waited.sort()
    print(
        f"freshness, request's end to endpoint: median {waited[len(waited) // 2]:.2f} s, "
        f"p99 {waited[int(0.99 * (len(waited) - 1))]:.2f} s, greatest {waited[-1]:.2f} s"
    )
    p99_s, shape = (
        waited[int(0.99 * (len(waited) - 1))],
        f"1 replica, {REQUESTS} requests, the whole pipeline",
    )
    return [Figure("a request's end to its place in open-metrics, p99", p99_s, "s", shape)]


if __name__ == "__main__":
    main()
