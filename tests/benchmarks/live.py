"""What users have: many replicas, each of which sends a small message a second; what a worker and ClickHouse spend.

Each replica sends a batch of about 20 requests a second (a few send ten times as many as most), with six statuses and
long tails, to 8 partitions of one broker. What counts is the CPU time of the worker and of ClickHouse for a million
requests, and how late figures are: how long ago the broker received the newest message that is stored, of the partition
that is furthest behind, seen once a second. What peers spend on the same requests is peers.py's matter.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace
from tests.benchmarks import results
from tests.benchmarks.live_run import PARTITIONS, LiveRun, Spent
from tests.benchmarks.pipelines import OUR_PIPELINE
from tests.benchmarks.results import CPU, Figure

from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.requests import Arrived, Finished, RequestBatch, Responded, Totals

NUMBERS = (200, 1_000, 10_000)
REQUESTS_A_MESSAGE = 20
SETTLE_S, MEASURE_S = 25.0, 40.0
STATUSES = ((200, 0.9), (201, 0.04), (400, 0.03), (429, 0.015), (500, 0.01), (503, 0.005))
WINDOWS_A_DAY = 8640
SECONDS = 10  # after which a replica's requests come again: no two of a window are the same


class Replica:
    """Makes a replica's messages: as many requests each second, others in each second of a window."""

    def __init__(self, number: int, requests_a_message: int = REQUESTS_A_MESSAGE) -> None:
        self.partition = number % PARTITIONS
        self.endpoint, self.name = f"endpoint-{number % 20}", f"replica-{number}"
        self.key = f"{self.endpoint} {self.name}"
        self.requests = requests_a_second(number, requests_a_message)
        rng = random.Random(self.name)
        self._seconds = [_second(rng, self.requests) for _ in range(SECONDS)]
        self._statuses = Counter[int]()
        self._batch = RequestBatch(
            namespace="bench",
            endpoint=self.endpoint,
            replica_id=self.name,
            boot_id=f"{number:032x}",
            seq=0,
            start_us=0,
            end_us=0,
            pending=self.requests,
            streaming=self.requests,
            oldest_pending_us=1,
        )

    def message(self, seq: int, start_us: int) -> bytes:
        """Return the message of the second that begins then; those of `seq` 0, 1, 2 ... are to be made in order."""
        arrived, responded, finished = self._seconds[seq % SECONDS]
        self._statuses.update(finished.status)
        count = self.requests * (seq + 1)
        statuses = {str(code): total for code, total in sorted(self._statuses.items())}
        return encode(
            replace(
                self._batch,
                seq=seq,
                start_us=start_us,
                end_us=start_us + 1_000_000,
                arrived=arrived,
                responded=responded,
                finished=finished,
                totals=Totals(arrived=count, finished=count, status=statuses),
            )
        )

    def request_messages(self, seq: int, start_us: int) -> list[tuple[int, bytes]]:
        """Return a JSON message for each request of that second, with its time in milliseconds."""
        _, responded, finished = self._seconds[seq % SECONDS]
        columns = zip(finished.at_us, finished.status, responded.wait_us, finished.duration_us, strict=True)
        names = self.endpoint.encode(), self.name.encode()
        return [
            (
                at_ms := (start_us + end_us) // 1000,
                b'{"endpoint":"%b","replica_id":"%b","at_ms":%d,"status":%d,"ttfb_us":%d,"latency_us":%d}'
                % (*names, at_ms, status, wait_us, duration_us),
            )
            for end_us, status, wait_us, duration_us in columns
        ]


def requests_a_second(number: int, requests_a_message: int = REQUESTS_A_MESSAGE) -> int:
    """Return how many requests a replica has, of so many on average: most a third, a few ten times as many."""
    return max(1, round(requests_a_message * random.Random(number).paretovariate(1.5) / 3))


def _second(rng: random.Random, count: int) -> tuple[Arrived, Responded, Finished]:
    at_us, ends_us = (sorted(rng.randrange(1_000_000) for _ in range(count)) for _ in range(2))
    statuses = rng.choices([code for code, _ in STATUSES], [share for _, share in STATUSES], k=count)
    waits_us = [int(rng.lognormvariate(10, 1)) + 1 for _ in range(count)]
    durations_us = [wait_us + int(rng.lognormvariate(11, 1.5)) for wait_us in waits_us]
    return Arrived(at_us), Responded(at_us, waits_us, statuses), Finished(ends_us, durations_us, statuses)


def main(numbers: Sequence[int] = NUMBERS) -> list[Figure]:
    """Print a line for each number of replicas."""
    print(
        f"{REQUESTS_A_MESSAGE} requests a message on average, {PARTITIONS} partitions, {os.cpu_count()} cores; "
        "CPU in s for a million requests\n"
        "replicas  requests/s  worker  ClickHouse   both  Kafka  % of a core: worker  ClickHouse  late: p50   p99"
        "  replicas a core  worker's MB  bytes: a request  a replica and day  % of the machine: others"
    )
    figures = []
    for number in numbers:
        spent, size, day_mb = measure(number)
        _print(number, spent, size, day_mb)
        figures += _figures(number, spent, day_mb)
    return figures


def measure(number: int, requests_a_message: int = REQUESTS_A_MESSAGE) -> tuple[Spent, float, float]:
    """Return what so many replicas cost, the bytes a request of their messages, and the MB stored a replica and day."""
    with tempfile.TemporaryDirectory() as directory, LiveRun(OUR_PIPELINE, Path(directory)) as run:
        size = run.send(number, requests_a_message)
        run.start()
        time.sleep(SETTLE_S)
        spent = run.measure(MEASURE_S)
        return spent, size, run.bytes_a_window() * WINDOWS_A_DAY / 1e6


def _replicas_a_core(number: int, spent: Spent) -> float:
    return number * spent.took_s / (spent.pipeline_s + spent.clickhouse_s)


def _print(number: int, spent: Spent, size: float, day_mb: float) -> None:
    millions, took_s = max(spent.requests, 1) / 1e6, spent.took_s
    print(
        f"{number:>8}  {spent.requests / took_s:>10.0f}  {spent.pipeline_s / millions:>6.1f}"
        f"  {spent.clickhouse_s / millions:>10.1f}  {spent.cpu_s_a_million:>5.1f}  {spent.kafka_s / millions:>5.1f}"
        f"  {spent.pipeline_s / took_s * 100:>19.0f}  {spent.clickhouse_s / took_s * 100:>10.0f}"
        f"  {spent.late_s[len(spent.late_s) // 2]:>9.1f}  {spent.p99_late_s:>4.1f}"
        f"  {_replicas_a_core(number, spent):>15,.0f}  {spent.memory_mb:>11.0f}  {size:>16.0f}  {day_mb:>14.2f} MB"
        f"  {spent.others_percent:>24.0f}",
        flush=True,
    )


def _figures(number: int, spent: Spent, day_mb: float) -> list[Figure]:
    shape = (
        f"{number:,} replicas, a message a second each, {REQUESTS_A_MESSAGE} requests a message, one worker"
    )
    followed = spent.requests / (sum(map(requests_a_second, range(number))) * spent.took_s) * 100
    if followed < 90:
        others = f"others took {spent.others_percent:.0f} % of the machine"
        shape = f"{shape}; it followed {followed:.0f} % of them, {others}"
    live = f"live, {number:,} replicas: "
    figures = [
        Figure(f"{live}replicas a core at 1 s, both", _replicas_a_core(number, spent), "replicas", shape),
        Figure(f"{live}worker and ClickHouse", spent.cpu_s_a_million, CPU, shape),
        Figure(f"{live}late, p99", spent.p99_late_s, "s", f"{shape}; {len(spent.late_s)} looks"),
    ]
    if number == 1_000:
        windows = f"{shape}; {REQUESTS_A_MESSAGE * 10} requests a window, merged"
        figures.append(Figure(results.STORED, day_mb, "MB a replica and day", windows))
    if number == 10_000:
        figures.append(Figure(results.MEMORY_10K, spent.memory_mb, "MB", shape))
        figures.append(
            Figure(f"{live}the worker's share", spent.pipeline_s / spent.took_s * 100, "% of a core", shape)
        )
    return figures


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or NUMBERS)
