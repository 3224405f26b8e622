"""An afternoon in the life of an endpoint, as rows: three replicas that start and stop, traffic, hardware, a gap.

Everything is derived from the time `end_s` and a seed, so the numbers that the page must show are known.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from tests.pipeline.store import rows

from endpoint_analytics.pipeline.core.sketch import buckets_of
from endpoint_analytics.pipeline.store.connect import Client

WINDOW_S = 10
GB = 10**9


@dataclass(frozen=True)
class Life:
    """A replica: when it starts running and when it ends, in seconds before the end of the story."""

    replica: str
    runs_from: int
    runs_until: int = 0
    ends: str = ""
    states: tuple[tuple[str, int, str], ...] = ()  # before it runs: state, seconds, reason


DAY: tuple[Life, ...] = (
    Life("llm-7d4f-k2x9q", 10_000, states=(("pending", 14, "scheduled"), ("pulling", 41, "image 4.1 GB"),
         ("downloading", 96, "model weights"), ("initializing", 38, "warming up"))),
    Life("llm-7d4f-m5rtz", 6_900, states=(("pending", 32, "waiting for a GPU"), ("pulling", 44, "image 4.1 GB"),
         ("downloading", 102, "model weights"), ("initializing", 36, "warming up"))),
    Life("llm-7d4f-p8wvn", 3_300, 1_000, "failed", (("pending", 8, "scale up"), ("downloading", 88, "model weights"),
         ("initializing", 35, "warming up"))),
    Life("llm-7d4f-t3hjc", 800, states=(("pending", 75, "waiting for a GPU"), ("pulling", 43, "image 4.1 GB"),
         ("downloading", 94, "model weights"), ("initializing", 37, "warming up"))),
)  # fmt: skip


@dataclass
class Story:
    """Rows of one endpoint over `hours` until `end_s`, silent during `gap_s` (seconds before the end)."""

    end_s: int
    namespace: str = "acme"
    endpoint: str = "llm"
    hours: float = 2.5
    rate: float = 12.0
    median_us: int = 420_000
    gap_s: tuple[int, int] | None = (2_520, 2_220)
    lives: tuple[Life, ...] = DAY
    gpus: int = 1
    seed: int = 7
    windows: list[dict[str, object]] = field(default_factory=list)
    hardware: list[dict[str, object]] = field(default_factory=list)
    engine: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.end_s = self.end_s // WINDOW_S * WINDOW_S
        self._chance = random.Random(self.seed)
        self._numbers = np.random.default_rng(self.seed)
        begin = self.end_s - int(self.hours * 3600) // WINDOW_S * WINDOW_S
        for start in range(begin, self.end_s, WINDOW_S):
            age = self.end_s - start
            if self.gap_s and self.gap_s[1] <= age < self.gap_s[0]:
                continue
            alive = [life for life in self.lives if life.runs_from >= age > life.runs_until]
            for life in alive:
                self.windows.append(self.window(life.replica, start, len(alive)))
                self.hardware += self.samples(life.replica, start)
                if self.gpus:
                    self.engine += self.engine_samples(life.replica, start)

    def load(self, at_s: float) -> float:
        """The load, around 1: a slow wave, a fast one, and two rushes, 48 and 15 minutes before the end."""
        age = self.end_s - at_s
        rush = math.exp(-(((age - 2_900) / 420) ** 2)) + 0.75 * math.exp(-(((age - 900) / 260) ** 2))
        return 0.95 + 0.25 * math.sin(age / 1900) + 0.12 * math.sin(age / 240) + rush

    def window(
        self, replica: str, start: int, sharing: int, *, width_s: float = WINDOW_S
    ) -> dict[str, object]:
        """The requests of one replica in one window."""
        load = self.load(start)
        number = int(self._numbers.poisson(self.rate * width_s / WINDOW_S * load * 3 / max(1, sharing)))
        strain = load * 2.2 / max(1, sharing)
        latency = self._numbers.lognormal(
            math.log(self.median_us * (0.7 + 0.5 * strain**2)), 0.42, number
        ).astype(int)
        ttfb = (latency * self._numbers.uniform(0.12, 0.3, number)).astype(int)
        statuses = self._chance.choices(
            (200, 204, 307, 404, 422, 429, 500, 503),
            (930, 6, 9, 14, 9, 4 * strain**3, 3, 2.2 * strain**4),
            k=number,
        )
        aborted = sum(self._chance.random() < 0.012 for _ in range(number))
        status = Counter(statuses)
        pending_us = int(ttfb.sum() * (1 + strain**2))
        streaming_us = int((latency - ttfb).sum())
        row: dict[str, object] = {
            "namespace": self.namespace, "endpoint": self.endpoint, "replica_id": replica, "boot_id": f"{replica}-1",
            "window_start": start, "partition": 0, "chunk": 0, "version": 1 + int(width_s * 10),
            "arrived": number + aborted, "finished": number, "aborted_pending": aborted // 2,
            "aborted_streaming": aborted - aborted // 2, "status_codes": list(status),
            "status_counts": list(status.values()), "covered_from_us": 0, "covered_to_us": int(width_s * 1e6),
            "pending_request_us": pending_us, "pending_max": math.ceil(pending_us / 10e6 * 2.4) + 1,
            "pending_last": round(pending_us / 10e6), "streaming_request_us": streaming_us,
            "streaming_max": math.ceil(streaming_us / 10e6 * 1.9) + 1, "streaming_last": round(streaming_us / 10e6),
            "active_max": math.ceil((pending_us + streaming_us) / 10e6 * 1.8) + 1,
            "oldest_pending_us": int(ttfb.max(initial=0)),
        }  # fmt: skip
        for name, values in (("latency", latency), ("ttfb", ttfb)):
            sketch = Counter(buckets_of(values.astype(np.int64)).tolist())
            row |= {
                f"{name}_count": number,
                f"{name}_sum_us": int(values.sum()),
                f"{name}_min_us": int(values.min(initial=10**9)) if number else 0,
                f"{name}_max_us": int(values.max(initial=0)),
                f"{name}_buckets": sorted(sketch),
                f"{name}_counts": [sketch[bucket] for bucket in sorted(sketch)],
            }
        return row

    def samples(self, replica: str, start: int) -> list[dict[str, object]]:
        """The hardware of one replica in one window."""
        load, noise = self.load(start), lambda size: self._chance.gauss(0, size)
        own = (hash_of(replica) % 17 - 8) / 8
        figures: list[tuple[str, str, float]] = [
            ("", "cpu_percent", min(100, max(1, 34 * load + 6 * own + noise(2.5)))),
            ("", "memory_used_bytes", (11.2 + 0.6 * own + 0.8 * load) * GB + noise(0.04) * GB),
            ("", "memory_limit_bytes", 32 * GB),
            ("", "oom_kills", float(bool(self.gpus) and start >= self.end_s - 1800)),
            ("", "network_received_bytes", max(0, 2.1e6 * load + noise(2e5))),
            ("", "network_sent_bytes", max(0, 9.6e6 * load + noise(6e5))),
        ]
        for gpu in range(self.gpus):
            figures += [
                (f"gpu{gpu}", "gpu_percent", min(100, max(0, 48 * load + 5 * own + noise(4)))),
                (
                    f"gpu{gpu}",
                    "gpu_memory_used_bytes",
                    (16.4 + 0.5 * own + 2.2 * load) * GB + noise(0.05) * GB,
                ),
                (f"gpu{gpu}", "gpu_memory_total_bytes", 24 * GB),
                (f"gpu{gpu}", "gpu_power_watts", max(20, 62 + 130 * load + noise(6))),
                (f"gpu{gpu}", "gpu_temperature_celsius", 41 + 17 * load + 2 * own + noise(0.5)),
            ]
        middle = datetime.fromtimestamp(start + 5, UTC)
        return [
            rows.hardware(middle, metric, value, replica=replica, device=device, age_s=0, boot_id=f"{replica}-1",
                          namespace=self.namespace, endpoint=self.endpoint)
            for device, metric, value in figures
        ]  # fmt: skip

    def engine_samples(self, replica: str, start: int) -> list[dict[str, object]]:
        """The serving engine's metrics of one replica in one window."""
        load, own = self.load(start), (hash_of(replica) % 17 - 8) / 8
        wave = math.sin(start / 37 + own)
        figures = {
            "engine_running_requests": 14 * load + 2 * own + wave,
            "engine_waiting_requests": max(0.0, 6 * (load - 1.1) + wave),
            "engine_kv_cache_percent": min(100.0, 38 * load + 4 * own + wave),
            "engine_prompt_tokens_per_second": 2400 * load + 200 * wave,
            "engine_cached_prompt_tokens_per_second": 700 * load + 90 * wave,
            "engine_generated_tokens_per_second": 820 * load + 60 * own + 40 * wave,
            "engine_finished_requests_per_second": 3.1 * load + 0.2 * wave,
            "engine_failed_requests_per_second": max(0.0, 0.2 * (load - 1.5)),
            "engine_preemptions_per_second": max(0.0, 0.4 * (load - 1.6)),
            "engine_lora_slots": 3 + own,
        }
        middle = datetime.fromtimestamp(start + 5, UTC)
        return [
            rows.hardware(middle, metric, value, replica=replica, age_s=0, boot_id=f"{replica}-1",
                          namespace=self.namespace, endpoint=self.endpoint) | {"engine": "vllm"}
            for metric, value in figures.items()
        ]  # fmt: skip

    def events(self) -> list[dict[str, object]]:
        """The states of each replica."""
        end, found = datetime.fromtimestamp(self.end_s, UTC), []

        def add(life: Life, state: str, age: float, reason: str = "") -> None:
            row = rows.event(end, state, replica=life.replica, age_s=age, offset=len(found),
                             namespace=self.namespace, endpoint=self.endpoint)  # fmt: skip
            found.append(row | {"reason": reason})

        for life in self.lives:
            age = life.runs_from + sum(seconds for _, seconds, _ in life.states)
            for state, seconds, reason in life.states:
                add(life, state, age, reason)
                age -= seconds
            add(life, "running", life.runs_from)
            if life.ends:
                add(life, life.ends, life.runs_until, "out of memory" if life.ends == "failed" else "")
                add(life, "terminated", life.runs_until - 45)
        return found

    def settings(self) -> list[dict[str, object]]:
        """Replica bounds, which are raised once."""
        end = datetime.fromtimestamp(self.end_s, UTC)
        return [
            rows.setting(end, 1, 3, age_s=self.hours * 3600 + 3600, endpoint=self.endpoint)
            | {"namespace": self.namespace},
            rows.setting(end, 2, 4, age_s=3_700, offset=1, endpoint=self.endpoint)
            | {"namespace": self.namespace},
        ]

    def boots(self, now: datetime) -> list[dict[str, object]]:
        """Heartbeats of the replicas that still run, and the last messages of the others."""
        return [
            rows.boot(now, replica=life.replica, boot_id=f"{life.replica}-1", namespace=self.namespace,
                      endpoint=self.endpoint, age_s=0.2 if not life.runs_until else life.runs_until,
                      version=int(now.timestamp() * 10), pending=2 if not life.runs_until else 0)
            for life in self.lives
        ]  # fmt: skip

    def store(self, client: Client, now: datetime) -> None:
        """Store the whole story."""
        rows.insert(client, "request_windows", self.windows)
        if self.hardware:
            rows.insert(client, "hardware_windows", self.hardware)
        if self.engine:
            rows.insert(client, "engine_windows", self.engine)
        rows.insert(client, "replica_events", self.events())
        rows.insert(client, "endpoint_settings", self.settings())
        rows.insert(client, "boot_states", self.boots(now))


def hash_of(text: str) -> int:
    """A number that is the same in every process."""
    return sum(ord(letter) * (place + 3) for place, letter in enumerate(text))
