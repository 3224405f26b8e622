"""Parts are started in the order of their needs, restarted, given up, and stopped in order."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from endpoint_analytics.infra.local.supervise import GivenUpError, PartError, Report, Supervisor
from endpoint_analytics.infra.local.system.restart import RestartRule


@dataclass
class FakePart:
    """A part without a process: `status` is its exit status, `error` the reason why it does not start."""

    name: str
    needs: tuple[str, ...] = ()
    status: int | None = None
    error: str = ""
    calls: list[str] = field(default_factory=list)
    may_start: threading.Event = field(default_factory=threading.Event)

    def start(self) -> str:
        self.may_start.wait(10)
        self.calls.append(f"start {self.name}")
        if self.error:
            raise PartError(self.error)
        self.status = None
        return "here"

    def poll(self) -> int | None:
        return self.status

    def stop(self, timeout_s: float) -> None:
        self.calls.append(f"stop {self.name}")

    def kill(self) -> None:
        self.calls.append(f"kill {self.name}")
        self.may_start.set()

    def log_tail(self) -> str:
        return "its last words"


class Bench:
    """A supervisor of fake parts, with a clock that stands still unless it is moved."""

    def __init__(self, *parts: FakePart, rule: RestartRule | None = None) -> None:
        self.reports: list[Report] = []
        self.supervisor = Supervisor(parts, self.reports.append, rule)
        self.now_s = 100.0

    def check(self, until: int) -> list[str]:
        """Call `tend` until there are `count` reports; returns their events."""
        deadline_s = time.monotonic() + 10
        while len(self.reports) < until and time.monotonic() < deadline_s:
            self.supervisor.check(self.now_s)
        return [f"{report.part} {report.event}" for report in self.reports]


def ready(
    name: str, needs: tuple[str, ...] = (), error: str = "", calls: list[str] | None = None
) -> FakePart:
    part = FakePart(name, needs, error=error, calls=[] if calls is None else calls)
    part.may_start.set()
    return part


def test_a_part_is_started_once_what_it_needs_is_up() -> None:
    bench = Bench(ready("worker", needs=("kafka",)), ready("kafka"))
    assert bench.check(4) == ["kafka starting", "kafka up", "worker starting", "worker up"]
    assert bench.supervisor.is_up


def test_a_part_that_ended_is_started_again_after_its_wait() -> None:
    part = ready("worker")
    bench = Bench(part)
    bench.check(2)
    part.status = -9
    assert bench.check(3)[2:] == ["worker ended"]
    assert bench.reports[-1] == Report("worker", "ended", "ended with status -9", 0.5)
    bench.supervisor.check(bench.now_s + 0.4)
    assert len(bench.reports) == 3
    bench.now_s += 0.5
    assert bench.check(5)[3:] == ["worker starting", "worker up"]


def test_a_part_that_never_came_up_ends_the_run_at_once() -> None:
    bench = Bench(ready("kafka", error="no java:\nthe log"))
    with pytest.raises(GivenUpError, match=r"(?s)^no java:\nthe log$"):
        bench.check(3)


def test_a_part_that_fails_again_and_again_is_given_up_with_its_logs_tail() -> None:
    part = ready("worker")
    bench = Bench(part, rule=RestartRule(failures=3))
    for reports in (2, 5):
        bench.check(reports)
        part.status = 3
        bench.check(reports + 1)
        bench.now_s += 10
    bench.check(8)
    part.status = 3
    with pytest.raises(
        GivenUpError, match=r"(?s)worker ended with status 3, 3 times in a row.*its last words"
    ):
        bench.check(9)
    assert bench.reports[-1].event == "given up"


def test_a_part_that_ends_because_its_need_is_gone_is_not_to_blame() -> None:
    kafka, worker = ready("kafka"), ready("worker", needs=("kafka",))
    bench = Bench(kafka, worker)
    bench.check(4)
    for reports in (6, 12):
        kafka.status = -9
        worker.status = 3
        bench.check(reports)
        bench.now_s += 10
        bench.check(reports + 4)
    assert bench.supervisor.is_up
    worker.status = 3
    bench.check(17)
    assert bench.reports[-1] == Report("worker", "ended", "ended with status 3", 0.5)


def test_groups_are_stopped_one_after_the_other() -> None:
    calls: list[str] = []
    names = ("kafka", "worker", "demo")
    bench = Bench(*(ready(name, calls=calls) for name in names))
    bench.check(6)
    calls.clear()
    bench.supervisor.stop([(("demo",), 1), (("worker", "absent"), 1), (("kafka",), 1)])
    assert calls == ["stop demo", "stop worker", "stop kafka"]
    assert [report.part for report in bench.reports[-3:]] == ["demo", "worker", "kafka"]


def test_a_start_under_way_is_broken_off() -> None:
    part = FakePart("kafka")
    bench = Bench(part)
    bench.check(1)
    bench.supervisor.stop([(("kafka",), 1)])
    assert part.calls == ["kill kafka", "start kafka", "stop kafka"]
    assert not bench.supervisor.has_abandoned


def test_a_bug_in_a_start_is_raised() -> None:
    part = FakePart("kafka", needs=())
    part.may_start = None  # type: ignore[assignment]
    bench = Bench(part)
    with pytest.raises(AttributeError):
        bench.check(3)


def test_while_held_nothing_is_started_and_what_ends_has_not_failed() -> None:
    part = FakePart("one")
    part.may_start.set()
    bench = Bench(part, rule=RestartRule(failures=1))
    assert bench.check(2) == ["one starting", "one up"]
    bench.supervisor.held, part.status = True, 1
    assert bench.check(3)[2:] == ["one held"]
    bench.now_s += 100
    bench.supervisor.check(bench.now_s)
    assert len(bench.reports) == 3
    bench.supervisor.held = False
    assert bench.check(5)[3:] == ["one starting", "one up"]


def test_a_part_whose_files_cannot_be_written_did_not_start() -> None:
    part = FakePart("one")
    part.start = lambda: Path("/dev/full").write_text("x")  # type: ignore[method-assign]
    with pytest.raises(GivenUpError, match=r"one cannot be started: .*No space left on device"):
        Bench(part).check(2)
