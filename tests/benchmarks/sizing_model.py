"""What so many replicas need, from what a message and a request cost. Pure: costs are measured in sizing.py.

CPU time a second is taken as linear: a fixed part of each worker, and a part for each message of requests, for each
request in it, and for each message of hardware. A worker's fixed part in ClickHouse is its flushes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from endpoint_analytics.pipeline.store.rollup_levels import Retention
from endpoint_analytics.schemas.topics import DAY_MS, REQUESTS

# Assumptions, which docs/sizing.md states.
WORKER_SHARE = (
    0.6  # of a core at the steady pace; the rest is for catching up and for a neighbour's partitions
)
PARTITIONS_A_WORKER = 2  # so that workers may double
REPLICATION = 3
LOG_DAYS = REQUESTS.retention_ms / DAY_MS
HOUR_OF_MINUTE = 2.0  # an hour's row of requests takes at most so many times the bytes of a minute's


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent each second."""

    messages: float
    requests: float
    hardware_messages: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds: each second, for a message of requests, for a request, and for a message of hardware."""

    fixed: float
    message: float
    request: float
    hardware_message: float

    def of(self, load: Load) -> float:
        """Return the cores that a load takes, without the fixed part."""
        return (
            self.message * load.messages
            + self.request * load.requests
            + self.hardware_message * load.hardware_messages
        )


@dataclass(frozen=True, slots=True)
class Costs:
    """All that was measured. Sizes are bytes: in Kafka's log, and on ClickHouse's disk for a replica's window."""

    worker: Cost
    clickhouse: Cost
    broker_message_s: float
    message_bytes: float
    request_bytes: float
    hardware_message_bytes: float
    ten_seconds_bytes: float
    minute_bytes: float
    hardware_window_bytes: float


@dataclass(frozen=True, slots=True)
class Size:
    """What so many replicas need. Broker figures are of the whole cluster; disks hold the whole retention."""

    replicas: int
    workers: int
    partitions: int
    worker_cores: float
    produced_messages: float
    produced_mb_s: float
    broker_cores: float
    broker_disk_gb: float
    clickhouse_cores: float
    clickhouse_disk_gb: float


def fit(loads: Sequence[Load], cores: Sequence[float]) -> Cost:
    """Return the costs that explain the cores used, none below 0.

    Least squares of the relative errors, so that small loads count as much as large ones; a cost that comes out
    negative is taken as 0, and the others are fitted again.
    """
    rows = np.array([[1.0, each.messages, each.requests, each.hardware_messages] for each in loads])
    scaled = rows / np.array(cores)[:, None]
    used = list(range(rows.shape[1]))
    found = np.zeros(rows.shape[1])
    while used:
        solution = np.linalg.lstsq(scaled[:, used], np.ones(len(cores)), rcond=None)[0]
        if (solution >= 0).all():
            found[used] = solution
            break
        del used[int(np.argmin(solution))]
    return Cost(*map(float, found))


def size(replicas: int, requests_a_second: float, costs: Costs) -> Size:
    """Return what so many replicas need, each with so many requests and a sample of hardware a second."""
    load = Load(replicas, replicas * requests_a_second, replicas)
    workers = max(1, math.ceil(costs.worker.of(load) / max(WORKER_SHARE - costs.worker.fixed, 0.01)))
    partitions = max(8, 2 ** math.ceil(math.log2(workers * PARTITIONS_A_WORKER)))
    bytes_s = replicas * (
        costs.message_bytes + costs.request_bytes * requests_a_second + costs.hardware_message_bytes
    )
    day_bytes = 86_400 / 10 * (costs.ten_seconds_bytes + costs.hardware_window_bytes)
    minutes_bytes = 1_440 * (costs.minute_bytes + costs.hardware_window_bytes)
    hours_bytes = 24 * (costs.minute_bytes * HOUR_OF_MINUTE + costs.hardware_window_bytes)
    kept = Retention()
    stored_bytes = day_bytes * kept.ten_seconds + minutes_bytes * kept.minute + hours_bytes * kept.hour
    return Size(
        replicas=replicas,
        workers=workers,
        partitions=partitions,
        worker_cores=costs.worker.fixed * workers + costs.worker.of(load),
        produced_messages=2 * replicas,
        produced_mb_s=bytes_s / 1e6,
        broker_cores=2 * replicas * costs.broker_message_s,
        broker_disk_gb=bytes_s * 86_400 * LOG_DAYS * REPLICATION / 1e9,
        clickhouse_cores=costs.clickhouse.fixed * workers + costs.clickhouse.of(load),
        clickhouse_disk_gb=replicas * stored_bytes / 1e9,
    )


def render_costs(costs: Costs) -> str:
    """Return the measured costs as a table of Markdown."""
    rows = [
        ("fixed, for each worker, ms a second", costs.worker.fixed * 1e3, costs.clickhouse.fixed * 1e3),
        ("a message of requests, us", costs.worker.message * 1e6, costs.clickhouse.message * 1e6),
        ("a request, us", costs.worker.request * 1e6, costs.clickhouse.request * 1e6),
        (
            "a message of hardware, us",
            costs.worker.hardware_message * 1e6,
            costs.clickhouse.hardware_message * 1e6,
        ),
    ]
    lines = ["| CPU time | worker | ClickHouse |", "|---|---|---|"]
    lines += [f"| {name} | {worker:.3g} | {clickhouse:.3g} |" for name, worker, clickhouse in rows]
    lines += ["", "| other | measured |", "|---|---|"]
    lines += [
        f"| {name} | {value:.3g} {unit} |"
        for name, value, unit in (
            (
                "the broker's CPU time for a message from a connection of its own",
                costs.broker_message_s * 1e6,
                "us",
            ),
            ("a message without requests, in Kafka's log", costs.message_bytes, "bytes"),
            ("each request in it", costs.request_bytes, "bytes"),
            ("a message of hardware, without GPU", costs.hardware_message_bytes, "bytes"),
            ("a replica's 10 s in ClickHouse, 200 requests", costs.ten_seconds_bytes, "bytes"),
            ("a replica's minute in ClickHouse, 1,200 requests", costs.minute_bytes, "bytes"),
            ("a replica's 10 s of hardware, one GPU", costs.hardware_window_bytes, "bytes"),
        )
    ]
    return "\n".join(lines)


def render_sizes(sizes: Sequence[Size]) -> str:
    """Return the sizes as a table of Markdown."""
    head = (
        "replicas", "workers", "their cores", "partitions", "messages/s", "MB/s in", "broker cores",
        "broker disk, GB", "ClickHouse cores", "ClickHouse disk, GB",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for each in sizes:
        cells = (
            f"{each.replicas:,}",
            str(each.workers),
            f"{each.worker_cores:.1f}",
            str(each.partitions),
            f"{each.produced_messages:,.0f}",
            f"{each.produced_mb_s:.1f}",
            f"{each.broker_cores:.1f}",
            f"{each.broker_disk_gb:,.0f}",
            f"{each.clickhouse_cores:.1f}",
            f"{each.clickhouse_disk_gb:,.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
