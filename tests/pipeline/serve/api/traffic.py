"""Requests with known figures, stored as by the worker: chunks, older versions, boots, late rows."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from endpoint_analytics.pipeline.core.sketch import buckets_of

WINDOW_S = 10


@dataclass(frozen=True)
class Request:
    replica: str
    boot: str
    at_s: float  # everything of a request happens in one window, to keep the truth short
    status: int
    latency_us: int
    ttfb_us: int


def make_requests(
    replicas: Iterable[tuple[str, str]], from_s: int, to_s: int, per_window: int, chance: random.Random
) -> list[Request]:
    """Requests of each (replica, boot) in every window of [from_s, to_s)."""
    found = []
    for replica, boot in replicas:
        for window in range(from_s // WINDOW_S * WINDOW_S, to_s, WINDOW_S):
            for _ in range(chance.randrange(per_window + 1)):
                latency_us = int(chance.lognormvariate(math.log(50_000), 0.8))
                found.append(
                    Request(
                        replica,
                        boot,
                        window + chance.uniform(0, 9.9),
                        chance.choices((100, 200, 204, 404, 500, 503), (1, 90, 3, 4, 2, 1))[0],
                        latency_us,
                        latency_us // 3,
                    )
                )
    return found


def window_rows(
    requests: Iterable[Request],
    covered: Iterable[tuple[str, str, int]],
    *,
    chunks: int = 2,
    version: int = 10,
) -> list[dict[str, object]]:
    """Rows of request_windows: each window's requests distributed over `chunks`, including `covered` ones without any.

    In each window of 10 s there are 2 requests pending for 5 s in the first chunk, so that the mean is 1.
    """
    dealt: dict[tuple[str, str, int, int], list[Request]] = {
        (replica, boot, window, chunk): [] for replica, boot, window in covered for chunk in range(chunks)
    }
    for number, request in enumerate(requests):
        window = int(request.at_s) // WINDOW_S * WINDOW_S
        dealt.setdefault((request.replica, request.boot, window, number % chunks), []).append(request)
    return [_row(key, found, chunks, version) for key, found in dealt.items()]


def _row(key, found, chunks, version):
    replica, boot, window, chunk = key
    status = Counter(request.status for request in found)
    row = {
        "namespace": "acme",
        "endpoint": "llm",
        "replica_id": replica,
        "boot_id": boot,
        "window_start": window,
        "partition": 0,
        "chunk": chunk * 1000,
        "version": chunk * 1000 + version,
        "arrived": len(found),
        "finished": len(found),
        "status_codes": list(status),
        "status_counts": list(status.values()),
        "covered_from_us": 10_000_000 * chunk // chunks,
        "covered_to_us": 10_000_000 * (chunk + 1) // chunks,
        "pending_request_us": 10_000_000 if chunk == 0 else 0,
        "pending_max": 2 if chunk == 0 else 0,
        "pending_last": chunk,
        "oldest_pending_us": 5_000_000,
    }
    for name in ("latency", "ttfb"):
        values = [getattr(request, f"{name}_us") for request in found]
        sketch = Counter(buckets_of(np.array(values, dtype=np.int64)).tolist())
        row |= {
            f"{name}_count": len(values),
            f"{name}_sum_us": sum(values),
            f"{name}_min_us": min(values, default=0),
            f"{name}_max_us": max(values, default=0),
            f"{name}_buckets": sorted(sketch),
            f"{name}_counts": [sketch[bucket] for bucket in sorted(sketch)],
        }
    return row


def exact_quantile(values: Iterable[int], q: float) -> float:
    ordered = sorted(values)
    return ordered[max(math.ceil(q * len(ordered)), 1) - 1] / 1e6
