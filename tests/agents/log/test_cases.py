"""The logs of tests/cases give their right values (its README is the table), by the reader as it runs."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from tests.agents.folded import fold
from tests.agents.log.test_reader import CONFIG, Topic, append, run

from endpoint_analytics.agents.log import reader
from endpoint_analytics.agents.log.formats import FORMATS
from endpoint_analytics.agents.log.logged import parse_time_us
from endpoint_analytics.agents.log.position_file import PositionFile
from endpoint_analytics.agents.log.reader import AccessLogReader
from endpoint_analytics.schemas.codec import decode_requests
from endpoint_analytics.schemas.requests import Totals

CASES = Path(__file__).parents[2] / "cases"
NOW_US = parse_time_us("2026-11-28T18:00:00Z")
"""The lines of the cases are a few minutes old."""


def read(monkeypatch, path: Path, log_format: str, topic: Topic | None = None) -> tuple[Totals, Topic]:
    """Return the totals of a reader that has read the log, and what it sent."""
    topic = topic or Topic()
    monkeypatch.setattr(reader, "now_us", lambda: NOW_US)
    totals = run(path, topic, parser=FORMATS[log_format]).totals
    last = decode_requests(topic.log[-1][1])
    assert last.totals == totals
    stored = fold([(NOW_US // 1_000, message) for _, message in topic.log])
    assert stored.rejected == {}
    return totals, topic


@pytest.mark.parametrize(
    ("name", "log_format", "expected"),
    [
        # The third line's 009 is no status of HTTP's: it counts as one of class 5xx.
        ("nginx-status009.log", "nginx", Totals(3, 3, 0, 0, {"200": 2, "599": 1}, 6_000, 8_000)),
        ("envoy-istio-tcp.log", "envoy", Totals(3, 3, 0, 0, {"200": 3}, 180_000, 189_000)),
        ("envoy-access-log-type.log", "envoy", Totals(1, 1, 0, 0, {"200": 1}, 40_000, 5_400_000)),
        ("envoy-istio-outbound.log", "envoy", Totals(2, 2, 0, 0, {"200": 2}, 120_000, 126_000)),
        ("envoy-istio-outbound.log", "istio-gateway", Totals(3, 3, 0, 0, {"200": 3}, 180_000, 1_026_000)),
        ("caddy-duration-ms.log", "caddy", Totals(dropped={"unfit_line": 1})),
        ("haproxy.log", "haproxy", Totals(5, 2, 2, 1, {"200": 2, "503": 1}, 151_000, 139_000)),
        ("haproxy-default-time.log", "haproxy", Totals(5, 2, 2, 1, {"200": 2, "503": 1}, 151_000, 139_000)),
        ("traefik-json.log", "traefik", Totals(1, 1, 0, 0, {"410": 1}, 433_331, 433_331)),
    ],
)  # fmt: skip
def test_a_log(monkeypatch, tmp_path, name, log_format, expected):
    monkeypatch.setenv("TZ", "UTC")
    path = tmp_path / "access.log"
    shutil.copy(CASES / name, path)
    totals, topic = read(monkeypatch, path, log_format)
    assert totals == expected
    # After a restart it continues where it stopped.
    line = (CASES / name).read_text().splitlines()[-1]
    append(path, line)
    again, _ = read(monkeypatch, path, log_format, topic)
    assert again.arrived >= expected.arrived
    assert sum(again.status.values()) + again.aborted_pending + sum(again.dropped.values()) >= 2


def test_a_duration_that_may_be_anything_is_said(monkeypatch, tmp_path, caplog):
    path = tmp_path / "access.log"
    shutil.copy(CASES / "caddy-duration-ms.log", path)
    read(monkeypatch, path, "caddy")
    assert "duration is 250, a whole number: it may be milliseconds or nanoseconds" in caplog.text
    append(path, path.read_text().replace("250.0", '"250ms"').strip())
    totals, _ = read(monkeypatch, path, "caddy")
    assert totals.duration_us == 250_000


def test_outgoing_calls_are_said(monkeypatch, tmp_path, caplog):
    path = tmp_path / "access.log"
    shutil.copy(CASES / "envoy-istio-outbound.log", path)
    read(monkeypatch, path, "envoy")
    assert "--format istio-gateway" in caplog.text


@pytest.mark.parametrize("is_away", [False, True])
def test_identical_lines_of_a_log_that_is_copied_and_truncated(monkeypatch, tmp_path, is_away):
    """A server behind a proxy that reports no ports: each line counts once, however late it is read."""
    case = (CASES / "uvicorn-port0-identical-lines.log").read_bytes()
    path, topic = tmp_path / "access.log", Topic()
    path.write_bytes(case)
    assert read(monkeypatch, path, "uvicorn", topic)[0] == Totals(status={"200": 40})

    def turn_over() -> None:
        shutil.copy2(path, tmp_path / "access.log.1")
        os.truncate(path, 0)
        with path.open("ab") as file:
            file.write(case * 2)

    if is_away:
        turn_over()
    positions = PositionFile(tmp_path / "position", CONFIG, NOW_US)
    following = AccessLogReader(CONFIG, path, FORMATS["uvicorn"], positions, topic)

    async def follow() -> None:
        running = asyncio.create_task(following.run())
        if not is_away:
            before = len(topic.log)
            while len(topic.log) < before + 3:  # it follows
                await asyncio.sleep(0.01)
            turn_over()
        for _ in range(6_000):
            if following.totals.status["200"] >= 120:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # more would be too many
        following.stop()
        await running
        await following.close()

    asyncio.run(follow())
    assert following.totals == Totals(status={"200": 120})
