"""Two endpoints of two replicas each, stored as by the worker in two steps: every family has a figure of its own.

What is counted by replica is a multiple of the replica's `figure`, so that a sum over any choice of replicas is known.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tests.pipeline.serve.api.traffic import Request, make_requests, window_rows
from tests.pipeline.store.rows import boot, event, hardware, insert, setting

from endpoint_analytics.pipeline.store.connect import Client

REPLICAS = {"llm": ("r1", "r2"), "chat": ("r1", "r9")}
SLOWER = {"llm": 7, "chat": 2}
"""How many times slower the requests of the second step are."""
ALIVE_S = 1800
"""Agents report until then, so that they are alive however long the tests take."""


def figure(endpoint: str, replica: str) -> int:
    """A small number of each replica's own: 1 to 4."""
    return 1 + [(e, r) for e, rs in REPLICAS.items() for r in rs].index((endpoint, replica))


def _boots(
    now: datetime, endpoint: str, counts: dict[str, Counter[int]], version: int
) -> list[dict[str, object]]:
    """The newest state of each agent: totals that grow with the version, levels by replica."""
    found = []
    for replica in REPLICAS[endpoint]:
        number = figure(endpoint, replica)
        common: dict[str, Any] = {
            "endpoint": endpoint,
            "replica": replica,
            "boot_id": f"{endpoint}-{replica}",
            "age_s": -ALIVE_S,
            "version": version,
        }
        requests = {
            "status": dict(counts[replica]),
            "finished": counts[replica].total(),
            "dropped": {"buffer_full": 5 * number * version},
            "aborted_pending": 10 * number * version,
            "aborted_streaming": 20 * number * version,
            "pending": number,
            "streaming": 10 * number,
            "oldest_pending_us": number * 1_000_000,
            "missing": 2,
            "copies": 1,
            "conflicts": 3 * version,
        }
        found.append(boot(now, **common, **requests))
        found += [boot(now, **common, stream=stream) for stream in ("hardware", "engine")]
    return found


def _samples(now: datetime, version: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """The newest samples: each metric a multiple of the replica's figure."""
    of_hardware, of_engine = [], []
    for endpoint, replicas in REPLICAS.items():
        for replica in replicas:
            number = figure(endpoint, replica)
            place: dict[str, Any] = {
                "endpoint": endpoint,
                "replica": replica,
                "boot_id": f"{endpoint}-{replica}",
                "age_s": -ALIVE_S - version,  # the newest counts, not the newest version
                "version": version,
            }
            for metric, value in (
                ("cpu_percent", 20.0 * number),
                ("cpu_throttled_ratio", 0.1 * number),
                ("memory_used_bytes", 10.0 * number),
                ("memory_limit_bytes", 100.0),
                ("oom_kills", 1.0 * number * version),
            ):
                of_hardware.append(hardware(now, metric, value, **place))
            for metric, value in (
                ("gpu_percent", 20.0 * number),
                ("gpu_memory_used_bytes", 8.0 * number),
                ("gpu_memory_total_bytes", 80.0),
                ("gpu_power_watts", 300.0 * number),
                ("gpu_temperature_celsius", 15.0 * number),
                ("gpu_throttled_ratio", 0.2 * number),
                ("gpu_ecc_uncorrected_errors", 2.0 * number * version),
                ("gpu_xid_errors", 3.0 * number * version),
            ):
                of_hardware.append(hardware(now, metric, value, device="gpu0", **place))
            for metric, factor in ENGINE.items():
                of_engine.append({**hardware(now, metric, factor * number, **place), "engine": "vllm"})
    return of_hardware, of_engine


ENGINE = {
    "engine_running_requests": 4.0,
    "engine_waiting_requests": 2.0,
    "engine_kv_cache_percent": 25.0,
    "engine_prompt_tokens_per_second": 100.0,
    "engine_cached_prompt_tokens_per_second": 50.0,
    "engine_generated_tokens_per_second": 30.0,
    "engine_finished_requests_per_second": 6.0,
    "engine_failed_requests_per_second": 0.5,
    "engine_preemptions_per_second": 0.25,
}


def _store(
    client: Client,
    now: datetime,
    requests: dict[str, list[Request]],
    totals: dict[str, list[Request]],
    version: int,
) -> None:
    """Store requests of each endpoint, and the agents' totals with them."""
    for endpoint, made in requests.items():
        rows = window_rows(made, [])
        insert(client, "request_windows", [{**row, "endpoint": endpoint} for row in rows])
        counts = {
            replica: Counter(request.status for request in totals[endpoint] if request.replica == replica)
            for replica in REPLICAS[endpoint]
        }
        insert(client, "boot_states", _boots(now, endpoint, counts, version))
    of_hardware, of_engine = _samples(now, version)
    insert(client, "hardware_windows", of_hardware)
    insert(client, "engine_windows", of_engine)


@dataclass(frozen=True)
class Traffic:
    """Requests of each endpoint: of the last half hour, and, stored later, of the last minutes."""

    now: datetime
    before: dict[str, list[Request]]
    during: dict[str, list[Request]]

    @property
    def both(self) -> dict[str, list[Request]]:
        return {endpoint: [*self.before[endpoint], *self.during[endpoint]] for endpoint in REPLICAS}

    @property
    def total(self) -> int:
        return sum(map(len, self.both.values()))


def make_traffic() -> Traffic:
    now = datetime.now(UTC)
    end_s = int(now.timestamp()) // 10 * 10
    chance = random.Random(7)

    def make(endpoint: str, from_s: int, to_s: int) -> list[Request]:
        places = [(replica, f"{endpoint}-{replica}") for replica in REPLICAS[endpoint]]
        return make_requests(places, from_s, to_s, 300, chance)

    def slowed(request: Request, factor: int) -> Request:
        return replace(request, latency_us=factor * request.latency_us, ttfb_us=factor * request.ttfb_us)

    before = {endpoint: make(endpoint, end_s - 1800, end_s - 1000) for endpoint in REPLICAS}
    during = {
        endpoint: [slowed(request, SLOWER[endpoint]) for request in make(endpoint, end_s - 120, end_s - 20)]
        for endpoint in REPLICAS
    }
    return Traffic(now, before, during)


def store_first(client: Client, traffic: Traffic) -> None:
    """Store the settings, the states and the first requests."""
    now = traffic.now
    _store(client, now, traffic.before, traffic.before, 1)
    insert(client, "endpoint_settings", [setting(now, 1, 3), setting(now, 2, 4, endpoint="chat")])
    for endpoint, replica, state in (
        ("llm", "r1", "running"), ("llm", "r2", "running"), ("chat", "r1", "initializing"), ("chat", "r9", "running"),
    ):  # fmt: skip
        insert(client, "replica_events", [event(now, state, endpoint=endpoint, replica=replica, age_s=60)])


def store_second(client: Client, traffic: Traffic) -> None:
    """Store the requests of the last minutes, with all that agents have counted since."""
    _store(client, traffic.now, traffic.during, traffic.both, 2)
