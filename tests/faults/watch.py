"""What users see while parts are replaced: a scraper behind several query services, and how late stored data is."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from clickhouse_connect.driver.exceptions import ClickHouseError
from tests.faults.rig import Rig

from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.schemas.metrics import DATA_TIMESTAMP, HTTP_REQUESTS, UNKNOWN_REPLICAS

SCRAPE_EVERY_S, LOOK_EVERY_S = 0.5, 0.25
PARTITION_AGES = """
SELECT (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(read_to))) / 1000
FROM partition_progress WHERE stream = 'requests' GROUP BY partition
"""


class _Watch:
    """Does something again and again in a thread of its own, until `stop`, which raises what it raised."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._ending = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._ending.wait(self._every_s):
                self.look()
        except BaseException as error:  # noqa: BLE001 - raised again by stop
            self._error = error

    def look(self) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Answer:
    """One answer: when it came (monotonic), from which service, and what it says of all endpoints together: their
    requests, their replicas that are unknown, and the age of the newest data of the one whose data is oldest.
    """

    at: float
    port: int
    requests: float
    unknown: float
    age_s: float
    took_s: float = 0.0


def parse_answer(text: str, at: float, now_s: float, port: int) -> Answer:
    """Read the samples of OpenMetrics text; `now_s` is in Unix time."""
    assert text.endswith("# EOF\n"), "an answer was cut off"
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name = line.partition("{")[0].partition(" ")[0]
            found.setdefault(name, []).append(float(line.rpartition("}")[2].split()[0]))
    newest = found.get(DATA_TIMESTAMP.name, [now_s])
    requests, unknown = found.get(f"{HTTP_REQUESTS.name}_total", []), found.get(UNKNOWN_REPLICAS.name, [])
    return Answer(at, port, sum(requests), sum(unknown), now_s - min(newest))


class Scraper(_Watch):
    """Asks one service after another, each time the next that is ready, like a load balancer with health checks.

    `gaps` are the moments at which none of them answered; `failed` counts, by reason, single services that did not
    answer although they had just said that they are ready.
    """

    def __init__(self, ports: Sequence[int], token: str) -> None:
        super().__init__(SCRAPE_EVERY_S)
        self._ports = list(ports)
        self._token = token
        self.answers: list[Answer] = []
        self.gaps: list[float] = []
        self.failed: Counter[str] = Counter()

    def look(self) -> None:
        self._ports.append(self._ports.pop(0))
        for port in self._ports:
            try:
                if self._get(port, "/ready")[0] != 200:
                    continue
            except (OSError, http.client.HTTPException):
                continue
            asked = time.monotonic()
            try:
                status, text = self._get(port, "/v2/open-metrics")
            except (OSError, http.client.HTTPException) as error:
                self.failed[type(error).__name__] += 1
                continue
            if status == 200:
                answer = parse_answer(text, time.monotonic(), time.time(), port)
                self.answers.append(replace(answer, took_s=answer.at - asked))
                return
            self.failed[f"{status}: {text[:200]}"] += 1
        self.gaps.append(time.monotonic())

    def _get(self, port: int, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            headers = {
                "Authorization": f"Bearer {self._token}",
                "Accept": "application/openmetrics-text; version=1.0.0",
            }
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def backward(self) -> list[tuple[Answer, Answer]]:
        """Return pairs of successive answers between which the counters went down: a false reset for Prometheus."""
        return [
            (before, after)
            for before, after in itertools.pairwise(self.answers)
            if after.requests < before.requests
        ]


@dataclass
class Phase:
    """The ages of one phase: of its latest partition at each look, and how often it could not be asked."""

    name: str
    latest_s: list[float] = field(default_factory=list)
    typical_s: list[float] = field(default_factory=list)
    unanswered: int = 0

    def __str__(self) -> str:
        def at(ages: list[float], share: float) -> str:
            return f"{sorted(ages)[int(share * (len(ages) - 1))]:5.1f}" if ages else "    -"

        return (
            f"{self.name:<44} {at(self.typical_s, 0.5)} {at(self.typical_s, 1)} {at(self.latest_s, 0.5)}"
            f" {at(self.latest_s, 0.99)} {at(self.latest_s, 1)}"
        )

    HEAD = (
        f"{'s by which stored data is late':<44} {'half':>5} {'half':>5} {'last':>5} {'last':>5} {'last':>5}\n"
        f"{'(of half of the partitions, of the last one)':<44} {'p50':>5} {'max':>5} {'p50':>5} {'p99':>5} {'max':>5}"
    )


class Lateness(_Watch):
    """How far behind the present the partitions are known to be stored, by phase of the test."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(LOOK_EVERY_S)
        self._config = rig.parts.clickhouse.config(rig.database)
        self._client: Client | None = None
        self.phases = [Phase("start")]

    def phase(self, name: str) -> None:
        """From now on, it is another phase."""
        self.phases.append(Phase(name))

    def look(self) -> None:
        phase = self.phases[-1]
        try:
            self._client = self._client or connect(self._config)
            ages = sorted(float(age) for (age,) in self._client.query(PARTITION_AGES).result_rows)
        except (ClickHouseError, OSError):
            phase.unanswered += 1
            return
        if ages:
            phase.latest_s.append(ages[-1])
            phase.typical_s.append(ages[len(ages) // 2])

    def table(self) -> str:
        """Return one line for each phase."""
        return "\n".join([Phase.HEAD, *(str(phase) for phase in self.phases if phase.latest_s)])


def longest_still_s(answers: Sequence[Answer]) -> float:
    """Return the longest time for which the answers' requests did not grow."""
    grown = [after.at for before, after in itertools.pairwise(answers) if after.requests != before.requests]
    return max((after - before for before, after in itertools.pairwise(grown)), default=0.0)
