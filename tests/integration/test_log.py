"""The access log reader on the real parts: killed at random while its log grows and rotates; no loss, no double."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

import pytest
from tests.agents.log.lines import nginx_line
from tests.support.oracle import Accepted, differences
from tests.support.parts import Child, Stack
from tests.support.waiting import eventually

from endpoint_analytics.agents.log.position_file import SavedPosition, decode_entry
from endpoint_analytics.pipeline.core.boots import BootKey

pytestmark = pytest.mark.whole

WINDOW_S = 10
KILLS = 7


class Writer:
    """A server that writes its log in pieces, regardless of lines, and a program that rotates it meanwhile.

    `written` are its requests by status, `windows` by (window, phase).
    """

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.path = path
        self.written: Counter[str] = Counter()
        self.windows: Counter[tuple[int, str]] = Counter()
        self.aborted = 0
        self._chance = chance
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._rotations = 0
        self._thread = threading.Thread(target=self._write_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._file.close()

    def _write_on(self) -> None:
        while not self._stopping.wait(self._chance.random() * 0.02):
            with self._lock:
                self._write(self._chance.randrange(1, 40))

    def _write(self, number: int) -> None:
        data = "".join(self._line() + "\n" for _ in range(number)).encode()
        cut = self._chance.randrange(len(data))
        self._file.write(data[:cut])
        time.sleep(self._chance.random() * 0.01)  # half a line stands there meanwhile
        self._file.write(data[cut:])

    def _line(self) -> str:
        end_ms, duration_ms = time.time_ns() // 1_000_000, self._chance.randrange(1, 3_000)
        status, is_cut = self._chance.choice([200, 200, 404, 503]), self._chance.random() < 0.05
        self.written[str(status)] += 1
        self.aborted += is_cut
        self.windows[(end_ms - duration_ms) // 10_000 * WINDOW_S, "arrived"] += 1
        ended = "aborted_streaming" if is_cut else "finished"
        self.windows[end_ms // 10_000 * WINDOW_S, ended] += 1
        return nginx_line(end_ms / 1_000, status, duration_ms / 1_000, ok="" if is_cut else "OK")

    def rotate(self) -> None:
        """Rotate in one of logrotate's ways, each in turn: create, copytruncate, and both with compression.

        All files are kept: the reader is killed again and again before it can finish a file, so it falls far behind.
        """
        way, self._rotations = self._rotations % 4, self._rotations + 1
        first = self.path.with_name("access.log.1")
        for number in range(self._rotations, 0, -1):
            for end in ("", ".gz"):
                old = self.path.with_name(f"access.log.{number}{end}")
                if old.exists():
                    old.rename(self.path.with_name(f"access.log.{number + 1}{end}"))
        if way in {0, 2}:
            self.path.rename(first)
            time.sleep(0.05)  # the server still writes into it
            with self._lock:
                self._file.close()
                self._file = self.path.open("ab", buffering=0)
        else:
            with self._lock:  # what is written between copying and truncating is lost by logrotate itself
                shutil.copy2(self.path, first)
                os.truncate(self.path, 0)
        if way >= 2:
            with first.open("rb") as plain, gzip.open(f"{first}.gz", "wb") as packed:
                shutil.copyfileobj(plain, packed)
            first.unlink()


def read_entry(path: Path) -> SavedPosition:
    return decode_entry(path.read_bytes())


@pytest.mark.slow
def test_kills_and_rotations_lose_nothing_and_double_nothing(stack: Stack, tmp_path: Path) -> None:
    chance = random.Random(11)
    path = tmp_path / "access.log"
    position = tmp_path / "access.log.position"
    words = ["agent", "log", str(path), "--format", "nginx", "--from", "start", "--no-hardware"]
    names = ["--namespace", "logged", "--endpoint", "known", "--replica-id", "known-0"]
    reader: Child = stack.child(
        "log", *words, *names, ready="log reader ready", ENDPOINT_ANALYTICS_FLUSH_INTERVAL_S="0.01"
    )
    with Writer(path, chance) as writer:
        for turn in range(KILLS):
            reader.start()
            for _ in range(chance.randrange(1, 3)):
                if chance.random() < 0.6:
                    writer.rotate()
                time.sleep(chance.random() * 0.6)
            reader.kill()
            if turn % 2:
                writer.rotate()  # while the reader is away
        writer.rotate()
    expected = sum(writer.written.values())
    reader.start()
    eventually(
        lambda: read_entry(position).state.totals.arrived, lambda n: n >= expected, 180, "all lines read"
    )
    assert reader.stop(30) == 0
    entry = read_entry(position)
    totals = entry.state.totals
    assert (totals.arrived, totals.aborted_streaming) == (expected, writer.aborted)
    assert totals.status == dict(writer.written)
    assert totals.dropped == {}
    key = BootKey("logged", "known", "known-0", entry.state.boot_id)
    accepted = {key: Accepted(totals, windows=writer.windows)}
    eventually(lambda: differences(stack.client, "logged", accepted), lambda found: not found, 30, "equality")
    ((missing, duplicates),) = stack.rows(
        "SELECT missing, duplicates FROM boots FINAL WHERE stream = 'requests' AND boot_id = {boot:String}",
        boot=entry.state.boot_id,
    )
    assert missing == 0
    print(
        f"{expected} requests, {writer._rotations} rotations, {KILLS} kills, {duplicates} batches sent twice"
    )
    stored = stack.counted("known", "http_requests_total", "logged")
    assert stored == {("known-0", status): count for status, count in writer.written.items()}
