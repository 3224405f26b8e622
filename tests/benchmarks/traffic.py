"""True traffic of an endpoint, folded as the worker folds it: the rows that ClickHouse would hold of it.

Requests arrive at random, at rates that differ between replicas; latencies have long tails and differ too; statuses are
six. Each replica sends a batch of requests and one of hardware a second, out of step with the others, as agents do.
Nothing here knows a database.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.pipeline.core.boots import Boot
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.partition import Bounds, PartitionFold
from endpoint_analytics.pipeline.core.row_block import RowBlock
from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.core.stream_folds import HardwareFold, RequestsFold
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.hardware import Accelerator, HardwareBatch
from endpoint_analytics.schemas.requests import Aborted, Arrived, Finished, RequestBatch, Responded, Totals

PARTITIONS = 8
REQUESTS_A_SECOND = 20.0
STATUSES = ((200, 0.9), (201, 0.04), (400, 0.03), (429, 0.015), (500, 0.01), (503, 0.005))
ABORTED = 0.01
FIRST_OFFSET = 4_321_000
SENT_AFTER_MS = 12

LATE_US = 400.0
"""Mean by which a timer fires late: intervals of agents are not whole seconds."""

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Life:
    """What happened at a replica: the moments of each phase, in microseconds, with their columns; each ascends."""

    arrived: _Ints
    ended: _Ints
    """When each of `arrived` ended to be pending, in the order of arrival."""
    responded: tuple[_Ints, _Ints, _Ints]
    finished: tuple[_Ints, _Ints, _Ints]
    aborted: tuple[_Ints, _Ints]


def live(seconds: int, rng: np.random.Generator) -> Life:
    """Return the life of a replica in so many seconds."""
    rate = REQUESTS_A_SECOND * float(rng.lognormal(-0.08, 0.4))
    slower = float(rng.normal(0, 0.3))
    count = int(rng.poisson(rate * seconds))
    arrived = np.sort(rng.integers(0, seconds * 1_000_000, count))
    waits = np.minimum(rng.lognormal(10 + slower, 1, count), 60e6).astype(np.int64) + 1
    durations = waits + np.minimum(rng.lognormal(11 + slower, 1.5, count), 120e6).astype(np.int64)
    codes, shares = zip(*STATUSES, strict=True)
    statuses = rng.choice(codes, count, p=shares)
    gone = rng.random(count) < ABORTED  # after the status: clients that do not wait for the end
    ages = (waits + (durations - waits) * rng.random(count)).astype(np.int64)
    ends = arrived + durations
    by_status, by_end = np.argsort(arrived + waits), np.flatnonzero(~gone)[np.argsort(ends[~gone])]
    left = np.flatnonzero(gone)[np.argsort((arrived + ages)[gone])]
    return Life(
        arrived,
        arrived + waits,
        ((arrived + waits)[by_status], waits[by_status], statuses[by_status]),
        (ends[by_end], durations[by_end], statuses[by_end]),
        ((arrived + ages)[left], ages[left]),
    )


def ends_of(seconds: int, rng: np.random.Generator) -> list[int]:
    """Return the ends of intervals of a second, in microseconds after their beginning, which is the first."""
    late = rng.exponential(LATE_US, seconds + 1).astype(np.int64)
    return [second * 1_000_000 + int(each - late[0]) for second, each in enumerate(late)]


def request_batches(
    number: int, start_us: int, ends: Sequence[int], life: Life, boot_id: str
) -> Iterator[RequestBatch]:
    """Yield the replica's batches, one a second."""
    status, waits, durations = dict[str, int](), 0, 0
    for seq, (begin, end) in enumerate(pairwise(ends)):
        a0, a1 = np.searchsorted(life.arrived, (begin, end))
        r0, r1 = np.searchsorted(life.responded[0], (begin, end))
        f0, f1 = np.searchsorted(life.finished[0], (begin, end))
        g0, g1 = np.searchsorted(life.aborted[0], (begin, end))
        for code in life.responded[2][r0:r1].tolist():
            status[str(code)] = status.get(str(code), 0) + 1
        waits += int(life.responded[1][r0:r1].sum())
        durations += int(life.finished[1][f0:f1].sum())
        since = max(0, a1 - 5000)
        waiting = life.arrived[since:a1][life.ended[since:a1] >= end]
        yield RequestBatch(
            namespace="bench",
            endpoint="llm",
            replica_id=name_of(number),
            boot_id=boot_id,
            seq=seq,
            start_us=start_us + begin,
            end_us=start_us + end,
            pending=int(a0 - r0),
            streaming=int(r0 - f0 - g0),
            oldest_pending_us=end - int(waiting[0]) if len(waiting) else 0,
            arrived=Arrived((life.arrived[a0:a1] - begin).tolist()),
            responded=Responded(
                (life.responded[0][r0:r1] - begin).tolist(),
                life.responded[1][r0:r1].tolist(),
                life.responded[2][r0:r1].tolist(),
            ),
            finished=Finished(
                (life.finished[0][f0:f1] - begin).tolist(),
                life.finished[1][f0:f1].tolist(),
                life.finished[2][f0:f1].tolist(),
            ),
            aborted_streaming=Aborted(
                (life.aborted[0][g0:g1] - begin).tolist(), life.aborted[1][g0:g1].tolist()
            ),
            totals=Totals(
                arrived=int(a1),
                finished=int(f1),
                aborted_streaming=int(g1),
                status=dict(status),
                wait_us=waits,
                duration_us=durations,
            ),
        )


def hardware_batches(
    number: int, start_us: int, ends: Sequence[int], rng: np.random.Generator, boot_id: str
) -> Iterator[HardwareBatch]:
    """Yield the replica's batches, one a second: all that an agent reads of a container, and one GPU."""
    seconds = len(ends) - 1
    load = np.clip(50 + np.cumsum(rng.normal(0, 1, seconds)) + rng.normal(0, 8, seconds), 0, 100)
    used = 9_000_000_000 + 4096 * np.cumsum(rng.integers(-300, 310, seconds))
    read = np.where(rng.random(seconds) < 0.1, rng.integers(1, 200, seconds) * 4096, 0)
    for seq, (begin, end) in enumerate(pairwise(ends)):
        cpu = float(load[seq])
        gpu = min(100.0, float(round(cpu * 1.3)))
        yield HardwareBatch(
            namespace="bench",
            endpoint="llm",
            replica_id=name_of(number),
            boot_id=boot_id,
            seq=seq,
            start_us=start_us + begin,
            end_us=start_us + end,
            at_us=[end - begin],
            replica={
                "cpu_percent": [cpu],
                "cpu_limit_cores": [8.0],
                "cpu_throttled_ratio": [0.0],
                "cpu_pressure_ratio": [round(cpu / 4000, 6)],
                "memory_used_bytes": [float(used[seq])],
                "memory_limit_bytes": [34_359_738_368.0],
                "memory_pressure_ratio": [0.0],
                "memory_limit_hits": [0.0],
                "oom_kills": [0.0],
                "disk_read_bytes": [float(read[seq])],
                "disk_written_bytes": [float(4096 * int(rng.integers(0, 20)))],
                "network_received_bytes": [float(int(40_000 * cpu / 50 + rng.integers(0, 20_000)))],
                "network_sent_bytes": [float(int(900_000 * cpu / 50 + rng.integers(0, 400_000)))],
            },
            accelerators=[
                Accelerator(
                    "gpu0",
                    {
                        "gpu_percent": [gpu],
                        "gpu_memory_used_bytes": [70_000_000_000.0 + 2_097_152 * int(cpu)],
                        "gpu_memory_total_bytes": [85_899_345_920.0],
                        "gpu_power_watts": [round(120 + 5.2 * gpu + float(rng.normal(0, 6)), 3)],
                        "gpu_temperature_celsius": [float(round(40 + gpu / 3))],
                        "gpu_throttled_ratio": [0.0],
                        "gpu_throttled_thermal_ratio": [0.0],
                        "gpu_throttled_power_ratio": [0.0],
                    },
                    f"GPU-{number:032x}",
                    "NVIDIA H100 80GB HBM3",
                )
            ],
        )


def name_of(number: int) -> str:
    """Return a replica's name."""
    return f"replica-{number:03}"


def rows(replicas: int, start_s: int, seconds: int, seed: int = 1) -> Iterator[Row | RowBlock]:
    """Yield the rows that are stored of an endpoint that begins then, each in its last version."""
    rng = np.random.default_rng(seed)
    boot_ids = [random.Random(f"{seed} {number}").randbytes(16).hex() for number in range(replicas)]
    starts_us = [start_s * 1_000_000 + number * 1_000_000 // replicas for number in range(replicas)]
    whose = [*zip(range(replicas), starts_us, boot_ids, strict=True)]
    requests = [
        [*request_batches(number, start_us, ends_of(seconds, rng), live(seconds, rng), boot_id)]
        for number, start_us, boot_id in whose
    ]
    yield from _folded(RequestsFold, requests)
    del requests
    hardware = [
        [*hardware_batches(number, start_us, ends_of(seconds, rng), rng, boot_id)]
        for number, start_us, boot_id in whose
    ]
    yield from _folded(HardwareFold, hardware)


def _folded(
    fold_of: type[RequestsFold | HardwareFold], batches: Sequence[Sequence[RequestBatch | HardwareBatch]]
) -> Iterator[Row | RowBlock]:
    """Fold each partition's messages, in the order of their sending."""
    for partition in range(PARTITIONS):
        sent = sorted(
            (batch for each in batches[partition::PARTITIONS] for batch in each),
            key=lambda batch: batch.end_us,
        )
        records = [
            Record(FIRST_OFFSET + index, batch.end_us // 1000 + SENT_AFTER_MS, encode(batch))
            for index, batch in enumerate(sent)
        ]
        stream_fold: Any = fold_of()
        fold = PartitionFold[Any](stream_fold, stream_fold.stream, partition, ChunkRule(), Bounds())
        for begins, run in fold.runs(records):
            if begins:
                if fold.is_open:
                    yield from fold.take_rows(closing=True)
                fold.open(run[0])
            decoded = fold.decode(run)
            fold.restore(Boot(key) for key in fold.unknown(decoded))
            fold.fold(run, decoded)
        yield from fold.take_rows(closing=True)
