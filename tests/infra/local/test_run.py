"""`endpoint-analytics run` as a whole, from the first start to every kind of end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.support.waiting import until

READY = "Endpoint Analytics is ready"
REPLICAS = {"magika-7f9c-a1", "magika-7f9c-b2", "magika-7f9c-c3"}
SAMPLE = re.compile(r"^(\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)


class Run:
    """One run of the command, and what it printed."""

    def __init__(self, data: Path, *words: str) -> None:
        self.data = data
        self.output = data.with_name(f"{data.name}-{time.monotonic_ns()}.out")
        ports = ("--kafka-port", "0", "--clickhouse-port", "0", "--serve-port", "0", "--demo-port", "0")
        command = [sys.executable, "-m", "endpoint_analytics.infra.command", "run", "--data", str(data)]
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, *ports, *words], stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.family: set[psutil.Process] = set()

    @property
    def text(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def until_ready(self) -> None:
        until(lambda: READY in self.text or self.process.poll() is not None, 90)
        assert READY in self.text, self.text
        self.look()

    def look(self) -> None:
        """Remember every process that belongs to it."""
        with suppress(psutil.Error):
            self.family |= set(psutil.Process(self.process.pid).children(recursive=True))

    def child(self, *words: str) -> psutil.Process:
        """The newest process with these words in its command line."""
        self.look()
        found = []
        for process in self.family:
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if all(word in line for word in words):
                    found.append(process)
        return max(found, key=lambda process: process.create_time())

    def end(self, number: int) -> float:
        """Send a signal; returns after how many seconds it and all its processes had ended."""
        self.look()
        began_s = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        until(lambda: not self.left(), 10)
        return time.monotonic() - began_s

    def left(self) -> list[psutil.Process]:
        """Processes of this run that still exist."""
        alive = []
        for process in self.family:
            with suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
        return alive

    def scrape(self) -> list[tuple[str, dict[str, str], float]]:
        """Samples of the endpoint: name, labels, value. None while the endpoint is not yet known."""
        port = json.loads((self.data / "ports.json").read_text())["serve"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v2/endpoint/demo/magika/open-metrics",
            headers={"Authorization": f"Bearer {(self.data / 'token').read_text().strip()}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                text = response.read().decode()
        except OSError:
            return []
        return [
            (name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value))
            for name, labels, value in SAMPLE.findall(text)
        ]

    def answers(self) -> Counter[tuple[str, str]]:
        """Answers by replica and status."""
        return Counter(
            {
                (labels["replica_id"], labels["status_code"]): int(value)
                for name, labels, value in self.scrape()
                if name == "http_requests_total"
            }
        )

    def states(self) -> dict[str, str]:
        return {
            labels["replica_id"]: labels["replica_state"]
            for name, labels, value in self.scrape()
            if name == "replica_state" and value
        }

    def pending(self) -> dict[str, float]:
        return {
            labels["replica_id"]: value for name, labels, value in self.scrape() if name == "pending_requests"
        }


def curl(*words: str) -> str:
    """The status and the body."""
    done = subprocess.run(
        ["curl", "-s", "-w", "\n%{http_code}", *words], capture_output=True, text=True, check=True
    )
    body, _, status = done.stdout.rpartition("\n")
    return f"{status} {body}"


def by_status(answers: Counter[tuple[str, str]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (_, status), count in answers.items():
        counts[status] += count
    return counts


def is_open_to_others(path: Path) -> bool:
    """Whether other users can access it; False if it is gone meanwhile, like ClickHouse's temporary parts."""
    try:
        return not path.is_symlink() and bool(path.stat().st_mode & 0o077)
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "data"


@pytest.fixture
def start(data: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(*words: str) -> Run:
        runs.append(Run(data, *words))
        return runs[-1]

    yield begin
    for run in runs:
        run.look()
        for process in [run.process, *run.left()]:
            with suppress(psutil.Error):
                process.kill()
        run.process.wait(10)


def test_it_serves_three_replicas_ends_within_ten_seconds_and_continues(
    start: Callable[..., Run], data: Path
) -> None:
    first = start("--rate", "20")
    first.until_ready()
    token = (data / "token").read_text()
    assert (data / "token").stat().st_mode & 0o777 == 0o600
    assert token.strip() not in first.text
    login = f"analyst:{(data / 'clickhouse.analyst-password').read_text().strip()}"
    assert login not in first.text
    url = f"http://127.0.0.1:{json.loads((data / 'ports.json').read_text())['clickhouse']}/?database=endpoint_analytics"
    until(lambda: curl("-u", login, url, "-d", "SELECT count() > 0 FROM boots") == "200 1\n")
    assert curl("-u", login, url, "-d", "TRUNCATE TABLE boots").startswith("500 Code: 164.")
    assert curl("-u", login, url, "-d", "SELECT file('/etc/passwd')").startswith("403 Code: 497.")
    assert curl(url, "-d", "SELECT 1").startswith("403 Code: 516.")
    # os.walk passes over a directory that is gone meanwhile, which rglob does not.
    paths = [
        Path(top, name) for top, directories, files in os.walk(data) for name in ("", *directories, *files)
    ]
    assert len(paths) > 100
    assert [path for path in paths if is_open_to_others(path)] == []

    second = start()
    assert second.process.wait(20) == 1
    assert f"the data directory {data} is in use by process {first.process.pid}" in second.text
    assert "Traceback" not in second.text

    until(lambda: first.states() == dict.fromkeys(REPLICAS, "running"), 45)
    until(lambda: {replica for replica, _ in first.answers()} == REPLICAS, 15)
    before = first.answers()

    assert first.end(signal.SIGINT) < 10
    assert first.process.returncode == 0
    assert "Traceback" not in first.text
    sent = json.loads((data / "demo" / "traffic.json").read_text())

    again = start("--no-demo")
    again.until_ready()
    assert (data / "token").read_text() == token
    # Everything that the replicas reported at their end is counted, each topic at its own pace, and nothing twice.
    until(lambda: set(again.states().values()) == {"terminated"}, 20)
    seen, unseen = Counter(sent["status"]), sum(sent["left"].values()) + 20
    until(lambda: seen <= by_status(again.answers()), 10)
    after = again.answers()
    assert all(after[key] >= count for key, count in before.items())
    assert after.total() <= seen.total() + unseen
    assert again.end(signal.SIGTERM) < 10
    assert again.process.returncode == 0


@pytest.mark.slow
def test_parts_that_die_come_back_and_a_killed_run_leaves_nothing(start: Callable[..., Run]) -> None:
    run = start("--rate", "20")
    run.until_ready()
    before = run.answers()

    run.child("infra.command", "worker").kill()
    run.child("infra.command", "serve").kill()
    run.child("uvicorn", "demo.app").kill()
    until(lambda: re.search(r"! magika\S+ ended with status -9: restarting in 0.5 s", run.text), 10)
    until(lambda: len(re.findall(r"✓ (?:Worker|Query service)", run.text)) == 4, 20)
    assert "! Worker ended with status -9: restarting in 0.5 s" in run.text
    assert "! Query service ended with status -9: restarting in 0.5 s" in run.text

    def has_gone_on() -> bool:
        now = run.answers()
        return now.total() > before.total() and all(now[key] >= count for key, count in before.items())

    until(has_gone_on, 20)
    assert "Traceback" not in run.text
    assert run.end(signal.SIGKILL) < 5
