"""Random combinations of faults, from a seed, while a fleet sends; at the end the oracle must find no difference.

    python -m tests.faults.campaign --seeds 10 --seconds 30

prints each round's faults and the table. A round that fails prints its seed: the same seed draws the same traffic and
the same faults at the same times, as far as the machine's timing allows.
"""

from __future__ import annotations

import argparse
import heapq
import logging
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.clickhouse_proxy import (
    ANSWER_LOST,
    CUT_IN_ANSWER,
    CUT_IN_REQUEST,
    PASS,
    UNREACHED,
    Fate,
    Once,
    Request,
    inserts,
)
from tests.faults.refusals import PASSING
from tests.faults.rig import SESSION_TIMEOUT_S, Parts, Rig, Row, pause, resume
from tests.support.parts import Child

from endpoint_analytics.infra.fleet.latency import parse_latency

MOST_WORKERS = 3
LAWS = ("lognormal", "pareto", "constant", "bimodal")


class Campaign:
    """One round on one rig. Each fault is a method that starts it, returns, and schedules its repair."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.rng = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self._workers: dict[str, Child] = {}
        self._asleep: set[str] = set()
        self._refusing = False
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._static = self.rng.random() < 0.7

    def run(self, seconds: float) -> None:
        """Cause faults for `seconds`, then repair everything."""
        self._start_worker()
        end = time.monotonic() + seconds
        next_fault = time.monotonic() + 3
        while time.monotonic() < end:
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            self._supervise()
            if now >= next_fault:
                fault = self.rng.choice(FAULTS)
                self.faults[fault.__name__.removeprefix("_").replace("_", " ")] += 1
                fault(self)
                next_fault = now + self.rng.uniform(0.3, 2.5)
            time.sleep(0.05)
        while self._due:
            heapq.heappop(self._due)[2]()
        self.rig.proxy.reset()
        self.rig.parts.repair()
        self._supervise()

    def _later(self, seconds: float, repair: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._due, (time.monotonic() + seconds, self._number, repair))

    @contextmanager
    def supervised(self) -> Iterator[None]:
        """Restart workers that exit until everything is read."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                self._supervise()

        thread = threading.Thread(target=watch, name="supervisor", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _supervise(self) -> None:
        """Restart workers that exited, like a process supervisor."""
        for name, worker in self._workers.items():
            if worker.process.poll() is not None:
                self._workers[name] = self.rig.worker(name, static=self._static, ready=False)

    def _start_worker(self) -> None:
        for number in range(MOST_WORKERS):
            name = f"worker-{number}"
            if name not in self._workers:
                self._workers[name] = self.rig.worker(name, static=self._static, ready=False)
                return

    def _any_worker(self) -> Child:
        return self._workers[self.rng.choice(sorted(self._workers))]

    def _worker_killed(self) -> None:
        self._any_worker().kill()

    def _worker_stopped(self) -> None:
        self._any_worker().process.terminate()

    def _worker_killed_at_an_insert(self) -> None:
        worker, (sent, answered) = (
            self._any_worker(),
            self.rng.choice([(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0, 1.0)]),
        )
        kill = Fate("killed", sent=sent, answered=answered, then=worker.process.kill)
        self.rig.proxy.rule = Once(inserts, kill, self.rng.randrange(1, 8))

    def _worker_asleep(self) -> None:
        worker = self._any_worker()
        pause(worker)

        def wake() -> None:
            if worker.process.poll() is None:
                resume(worker)

        self._later(self.rng.uniform(0.5, 2.5 * SESSION_TIMEOUT_S), wake)

    def _worker_added(self) -> None:
        self._start_worker()

    def _worker_removed(self) -> None:
        if len(self._workers) > 1:
            name = self.rng.choice(sorted(self._workers))
            worker = self._workers.pop(name)
            self.rng.choice([worker.process.terminate, worker.process.kill])()

    def _log_replayed(self) -> None:
        """A worker of another group reads everything from the beginning, into the same tables, and is killed."""
        self._number += 1
        group = f"{self.rig.name}-replay-{self._number}"
        replayer = self.rig.worker(f"replayer-{self._number}", group=group, static=False, ready=False)
        self._later(self.rng.uniform(4, 10), replayer.kill)

    def _requests_fail(self) -> None:
        fate = self.rng.choice([ANSWER_LOST, CUT_IN_REQUEST, CUT_IN_ANSWER, UNREACHED])
        share, dice = self.rng.uniform(0.2, 0.8), random.Random(self.rng.random())

        def rule(_: Request) -> Fate:
            return fate if dice.random() < share else PASS

        self._rule_for(self.rng.uniform(1, 5), rule)

    def _inserts_refused(self) -> None:
        seconds, refusal = self.rng.uniform(0.5, 4), self.rng.choice(PASSING)
        if self._refusing:
            return
        self._refusing = True
        self.rig.refuse(refusal)

        def take_back() -> None:
            self.rig.accept(refusal)
            self._refusing = False

        self._later(seconds, take_back)

    def _clickhouse_slow(self) -> None:
        delay_s = self.rng.uniform(0.2, 1.5)
        self._rule_for(self.rng.uniform(1, 4), lambda _: Fate("slow", delay_s=delay_s))

    def _rule_for(self, seconds: float, rule: Callable[[Request], Fate]) -> None:
        proxy = self.rig.proxy
        proxy.rule = rule

        def pass_again() -> None:
            if proxy.rule is rule:
                proxy.rule = lambda _: PASS

        self._later(seconds, pass_again)

    def _clickhouse_killed(self) -> None:
        if self.rig.parts.clickhouse.poll() is None:
            self.rig.parts.clickhouse.kill()
            self._later(self.rng.uniform(0, 4), self.rig.parts.repair_clickhouse)

    def _clickhouse_asleep(self) -> None:
        if self.rig.parts.stop_clickhouse():
            self._later(self.rng.uniform(0.5, 4), self.rig.parts.repair_clickhouse)

    def _kafka_killed(self) -> None:
        if self.rig.parts.kafka.poll() is None:
            self.rig.parts.kafka.kill()
            self._later(self.rng.uniform(0, 3), self.rig.parts.repair_kafka)

    def _kafka_asleep(self) -> None:
        if self.rig.parts.stop_kafka():
            self._later(self.rng.uniform(0.5, 3), self.rig.parts.repair_kafka)


FAULTS: tuple[Callable[[Campaign], None], ...] = (
    Campaign._worker_killed,
    Campaign._worker_killed,
    Campaign._worker_killed_at_an_insert,
    Campaign._worker_killed_at_an_insert,
    Campaign._worker_stopped,
    Campaign._worker_asleep,
    Campaign._worker_asleep,
    Campaign._worker_added,
    Campaign._worker_added,
    Campaign._worker_removed,
    Campaign._log_replayed,
    Campaign._requests_fail,
    Campaign._requests_fail,
    Campaign._inserts_refused,
    Campaign._clickhouse_slow,
    Campaign._clickhouse_killed,
    Campaign._clickhouse_asleep,
    Campaign._kafka_killed,
    Campaign._kafka_asleep,
)


def play(parts: Parts, seed: int, seconds: float) -> tuple[Row, Counter[str]]:
    """Run one round; raises AssertionError with every difference that the oracle finds."""
    parts.repair()
    rng = random.Random(f"traffic of {seed}")
    rig = Rig(parts, f"campaign-{seed}", partitions=rng.choice([1, 3, 4]),
              chunk_ms=rng.choice([1000, 2000, 5000]), chunk_offsets=rng.choice([100, 700, 5000]))  # fmt: skip
    try:
        copies = random.Random(f"copies of {seed}").choice([0.0, 0.03])
        fleets = [
            rig.send_steadily(
                seconds,
                name=f"{rig.name}-{kind}",
                seed=seed,
                replicas=rng.randrange(5, 60),
                endpoints=rng.randrange(1, 5),
                rate=rng.uniform(1, 20),
                latency=parse_latency(rng.choice(LAWS)),
                interval_s=rng.choice([0.3, 0.5, 1.0]),
                duplicates=rng.choice([0.0, 0.1]),
                gaps=rng.choice([0.0, 0.0 if copies else 0.05]),
                copies=copies,
                late=rng.choice([0.0, 0.1]),
                restarts=rng.choice([0.0, 0.1]),
                overlap=rng.choice([0, 3]),
                poison=rng.choice([0.0, 0.1]),
                hardware=rng.random() < 0.5,
            )
            for kind in ("a", "b")
        ]
        campaign = Campaign(rig, seed)
        campaign.run(seconds)
        with campaign.supervised():
            for fleet in fleets:
                fleet.join()
            row = rig.verify(f"seed {seed}: {campaign.faults.total()} faults")
        for worker in rig.workers:
            worker.kill()
        rig.replay()
        rig.worker("replayer", static=False)
        rig.wait_for_last_chunks()
        rig.verify(f"seed {seed}: and the log replayed")
        return row, campaign.faults
    finally:
        rig.close()


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Keep this many cores busy meanwhile: a loaded machine is slow, but must lose nothing."""
    loop = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(loop) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="faults mixed at random from a seed")
    parser.add_argument("--seed", type=int, help="the first seed; without one it is drawn")
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds, one after another (10)")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of traffic and faults for each seed (30)"
    )
    parser.add_argument("--busy", type=int, default=0, help="cores that are kept busy beside (0)")
    arguments = parser.parse_args(words)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # Kafka is killed on purpose
    first = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    rows: list[tuple[Row | None, str]] = []
    with (
        tempfile.TemporaryDirectory(prefix="campaign-") as directory,
        Parts(Path(directory)) as parts,
        busy(arguments.busy),
    ):
        for seed in range(first, first + arguments.seeds):
            print(f"seed {seed} ...", flush=True)
            try:
                row, faults = play(parts, seed, arguments.seconds)
                reported = ", ".join(f"{name} {count}" for name, count in sorted(faults.items()))
                rows.append((row, reported))
                print(f"seed {seed}: exact; {reported}", flush=True)
            except AssertionError as error:
                rows.append((None, f"seed {seed} FAILED"))
                print(f"seed {seed} FAILED: {str(error)[:5000]}", flush=True)
                _keep_logs(Path(directory), seed)
    print(f"\n{Row.HEAD}")
    for row, reported in rows:
        print(row or reported)
    failed = sum(row is None for row, _ in rows)
    print(
        f"{len(rows) - failed} of {len(rows)} seeds exact; --seed {first} --seconds {arguments.seconds:g} again"
    )
    return 1 if failed else 0


def _keep_logs(directory: Path, seed: int) -> None:
    """Print the end of the workers' logs of a seed that failed."""
    for log in sorted(directory.glob(f"campaign-{seed}-*.log")):
        print(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
