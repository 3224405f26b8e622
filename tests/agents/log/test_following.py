"""A real log in a folder, turned over in every usual way: each line is given once."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_analytics.agents.log.files import Position, find, rotated
from endpoint_analytics.agents.log.following import GRACE_S, MAX_LINE_BYTES, Follower


class Log:
    """A log and its writer, and a reader that can be started anew where it stood."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "access.log"
        self.file = self.path.open("ab", buffering=0)
        self.written: list[bytes] = []
        self.read: list[bytes] = []
        self.now_s = 0.0
        self.follower = Follower(self.path, None)
        self.position: Position | None = None

    def write(self, number: int = 1) -> None:
        for _ in range(number):
            line = b"line %d of this log" % len(self.written)
            self.written.append(line)
            self.file.write(line + b"\n")

    def poll(self) -> None:
        """Read what there is, the time that a renamed file is waited for included."""
        for _ in range(40):
            while (found := self.follower.poll(self.now_s)) is not None:
                self.read += found.lines
                self.position = found.file.position(found.ends[-1])
            self.position = self.follower.position or self.position
            self.now_s += GRACE_S

    def restart(self) -> None:
        self.follower.close()
        self.follower = Follower(self.path, self.position)

    def rename(self, *, compress: bool = False) -> None:
        """As logrotate does with `create`, the writer told to reopen."""
        self._shift()
        self.path.rename(self.path.with_name("access.log.1"))
        if compress:
            self.file.close()
            old = self.path.with_name("access.log.1")
            with old.open("rb") as plain, gzip.open(f"{old}.gz", "wb") as packed:
                shutil.copyfileobj(plain, packed)
            shutil.copystat(old, f"{old}.gz")
            old.unlink()
        self.file.close()
        self.file = self.path.open("ab", buffering=0)

    def copy_and_truncate(self) -> None:
        self._shift()
        shutil.copy2(self.path, self.path.with_name("access.log.1"))
        os.truncate(self.path, 0)

    def _shift(self) -> None:
        time.sleep(0.01)  # rotations are told apart by their times
        for number in range(8, 0, -1):
            for end in ("", ".gz"):
                old = self.path.with_name(f"access.log.{number}{end}")
                if old.exists():
                    old.rename(self.path.with_name(f"access.log.{number + 1}{end}"))

    def close(self) -> None:
        self.file.close()
        self.follower.close()


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path)
    yield log
    log.close()


def test_lines_are_given_as_they_are_written(log):
    log.write(3)
    log.poll()
    log.file.write(b"a beginning")
    log.poll()
    assert log.read == log.written
    log.file.write(b" and an end\r\n")
    log.poll()
    assert log.read[-1] == b"a beginning and an end"


def test_a_log_that_comes_later(tmp_path):
    path = tmp_path / "later.log"
    follower = Follower(path, None, from_end=True)
    assert follower.poll(0) is None
    path.write_bytes(b"first\n")
    assert follower.poll(1).lines == [b"first"]
    follower.close()


def test_from_the_end_is_from_the_last_whole_line(tmp_path):
    path = tmp_path / "access.log"
    path.write_bytes(b"old\n" * 30_000 + b"begun")
    follower = Follower(path, None, from_end=True)
    assert follower.poll(0) is None
    with path.open("ab") as file:
        file.write(b" now\nnew\n")
    assert follower.poll(0).lines == [b"begun now", b"new"]
    follower.close()


def test_a_renamed_file_is_read_to_its_end_however_late_its_writer_is(log):
    log.write(2)
    log.poll()
    old = log.path.rename(log.path.with_name("access.log.1"))
    log.path.touch()
    log.poll()  # the new one is there, and empty: its writer has not been told
    log.write(2)
    log.poll()
    assert log.read == log.written
    log.write(1)
    log.file.close()
    log.file = log.path.open("ab", buffering=0)
    log.write(2)
    log.poll()
    assert log.read == log.written
    assert old.exists()


def test_a_last_line_without_an_end_is_a_line(log):
    log.write(1)
    log.poll()
    log.file.write(b"cut off")
    log.rename()
    log.file.write(b"new\n")
    log.poll()
    assert log.read == [*log.written, b"cut off", b"new"]


def test_a_truncated_file_is_read_from_its_start(log):
    log.write(5)
    log.poll()
    os.truncate(log.path, 0)
    log.written.append(b"a new beginning that is longer than all that was written before " + b"x" * 200)
    log.file.write(log.written[-1] + b"\n")
    log.poll()
    assert log.read == log.written


def test_what_was_not_read_of_a_truncated_file_is_taken_from_its_copy(log):
    log.write(5)
    log.poll()
    log.write(5)
    log.copy_and_truncate()
    log.write(5)
    log.poll()
    assert log.read == log.written


def test_a_line_without_an_end_in_sight_is_given_up(log):
    log.file.write(b"x" * (MAX_LINE_BYTES + 1))
    log.poll()
    log.file.write(b"the rest\nnext\n")
    log.poll()
    assert [len(line) for line in log.read] == [MAX_LINE_BYTES, 8, 4]


def test_names_of_rotated_files(tmp_path):
    path = tmp_path / "access.log"
    theirs = [
        "access.log.1",
        "access.log.2.gz",
        "access.log-20261124",
        "access-2026-11-24.log",
        "access.log.1.gz",
    ]
    others = ["access.log", "access.log.position", "access.log.position.new", "access.log.position.lock",
              "error.log.1", "access.log2", "xaccess.log.1", "access.log.1.bz2.tmp/"]  # fmt: skip
    for name in theirs + others:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    assert {found.name for found in rotated(path)} == set(theirs)


def test_another_file_at_the_old_inode_is_not_taken_for_it(log):
    log.write(3)
    log.poll()
    position = log.position
    log.path.write_bytes(b"something else, and longer than what stood here before " * 4)  # the same inode
    assert log.path.stat().st_ino == position.inode
    assert find(log.path, position) is None


STEPS = st.lists(
    st.sampled_from(["write", "write", "write", "poll", "restart", "rename", "compress", "truncate"]),
    max_size=14,
)


@settings(deadline=None, max_examples=100)
@given(STEPS)
def test_however_it_is_turned_over_each_line_is_given_once(tmp_path_factory, steps):
    log = Log(tmp_path_factory.mktemp("log"))
    log.write(1)
    log.poll()
    try:
        for step in steps:
            if step == "write":
                log.write(3)
            elif step == "poll":
                log.poll()
            elif step == "restart":
                log.restart()
            elif step == "rename":
                log.write(1)
                log.rename()
            elif step == "compress":
                log.write(1)
                log.poll()
                log.rename(compress=True)
            else:
                log.write(1)
                log.copy_and_truncate()
        log.write(2)
        log.poll()
        assert log.read == log.written
    finally:
        log.close()
        shutil.rmtree(log.path.parent)
