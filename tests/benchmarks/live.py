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
from typing import NamedTuple

from msgspec.structs import replace
from tests.benchmarks import results
from tests.benchmarks.live_run import PARTITIONS, LiveRun, Spent
from tests.benchmarks.pipelines import OUR_PIPELINE
from tests.benchmarks.results import CPU, Figure

from endpoint_analytics.schemas.packed_requests import PackedBatch, encode_packed, pack
from endpoint_analytics.schemas.requests import Arrived, Finished, RequestBatch, Responded, Totals

NUMBERS = (200, 1_000, 10_000)
REQUESTS_A_MESSAGE = 20
SETTLE_S, MEASURE_S = 25.0, 40.0
STATUSES = ((200, 0.9), (201, 0.04), (400, 0.03), (429, 0.015), (500, 0.01), (503, 0.005))
WINDOWS_A_DAY = 8640
SECONDS = 10  # after which a replica's requests come again: no two of a window are the same


class _Second(NamedTuple):
    """What happens to a replica's requests in a second, and how many there are when it begins."""

    packed: PackedBatch
    finished: Finished
    waits_us: Sequence[int]
    """Those of the finished requests."""
    counts: Counter[str]


class Replica:
    """Makes a replica's messages: as many requests each second, others in each second of a window.

    What takes longer than until the end of its second ends in a later one, as with a server.
    """

    def __init__(self, number: int, requests_a_message: int = REQUESTS_A_MESSAGE) -> None:
        self.partition = number % PARTITIONS
        self.endpoint, self.name = f"endpoint-{number % 20}", f"replica-{number}"
        self.key = f"{self.endpoint} {self.name}"
        self.requests = requests_a_second(number, requests_a_message)
        rng = random.Random(self.name)
        self._seconds = _seconds(
            rng,
            self.requests,
            RequestBatch(
                namespace="bench",
                endpoint=self.endpoint,
                replica_id=self.name,
                boot_id=f"{rng.getrandbits(128):032x}",
                seq=0,
                start_us=0,
                end_us=0,
                pending=0,
                streaming=0,
            ),
        )
        self._counts = Counter[str]()

    def message(self, seq: int, start_us: int) -> bytes:
        """Return the message of the second that begins then; those of `seq` 0, 1, 2 ... are to be made in order."""
        second, counts = self._seconds[seq % SECONDS], self._counts
        counts.update(second.counts)
        totals = Totals(
            arrived=counts["arrived"],
            finished=counts["finished"],
            status={status: counts[status] for status in counts if status.isdigit()},
            wait_us=counts["wait_us"],
            duration_us=counts["duration_us"],
        )
        return encode_packed(
            replace(second.packed, seq=seq, start_us=start_us, end_us=start_us + 1_000_000, totals=totals)
        )

    def request_messages(self, seq: int, start_us: int) -> list[tuple[int, bytes]]:
        """Return a JSON message for each request that ended in that second, with its time in milliseconds."""
        second = self._seconds[seq % SECONDS]
        finished = second.finished
        columns = zip(finished.at_us, finished.status, second.waits_us, finished.duration_us, strict=True)
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


def _seconds(rng: random.Random, count: int, batch: RequestBatch) -> list[_Second]:
    """Return seconds with so many arrivals each, after the last of which the first comes again."""
    arrived: list[list[int]] = [[] for _ in range(SECONDS)]
    answered: list[list[tuple[int, int, int]]] = [[] for _ in range(SECONDS)]
    ended: list[list[tuple[int, int, int, int]]] = [[] for _ in range(SECONDS)]
    pending, streaming, oldest_us = ([0] * SECONDS for _ in range(3))
    codes, shares = zip(*STATUSES, strict=True)
    for second in range(SECONDS):
        for status in rng.choices(codes, shares, k=count):
            at_us, wait_us = rng.randrange(1_000_000), int(rng.lognormvariate(10, 1)) + 1
            duration_us = wait_us + int(rng.lognormvariate(11, 1.5))
            arrived[second].append(at_us)
            later, answered_us = divmod(at_us + wait_us, 1_000_000)
            answered[(second + later) % SECONDS].append((answered_us, wait_us, status))
            latest, ended_us = divmod(at_us + duration_us, 1_000_000)
            ended[(second + latest) % SECONDS].append((ended_us, duration_us, status, wait_us))
            for passed in range(1, later + 1):
                pending[(second + passed) % SECONDS] += 1
                end = (second + passed - 1) % SECONDS
                oldest_us[end] = max(oldest_us[end], passed * 1_000_000 - at_us)
            for passed in range(later + 1, latest + 1):
                streaming[(second + passed) % SECONDS] += 1
    return [
        _second(batch, *columns)
        for columns in zip(pending, streaming, oldest_us, arrived, answered, ended, strict=True)
    ]


def _second(
    batch: RequestBatch,
    pending: int,
    streaming: int,
    oldest_us: int,
    arrived: list[int],
    answered: list[tuple[int, int, int]],
    ended: list[tuple[int, int, int, int]],
) -> _Second:
    for rows in (arrived, answered, ended):
        rows.sort()
    responded = Responded(*([row[column] for row in answered] for column in range(3)))
    finished = Finished(*([row[column] for row in ended] for column in range(3)))
    happened = replace(
        batch,
        pending=pending,
        streaming=streaming,
        oldest_pending_us=oldest_us,
        arrived=Arrived(arrived),
        responded=responded,
        finished=finished,
    )
    counts = Counter[str](map(str, responded.status))
    counts["arrived"], counts["finished"] = len(arrived), len(ended)
    counts["wait_us"], counts["duration_us"] = sum(responded.wait_us), sum(finished.duration_us)
    return _Second(pack(happened), finished, [row[3] for row in ended], counts)


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
