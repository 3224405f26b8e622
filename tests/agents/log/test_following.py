"""A real log in a directory, rotated in every usual way: each line is returned once."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_analytics.agents.log.files import Position
from endpoint_analytics.agents.log.following import GRACE_S, MAX_LINE_BYTES, Follower
from endpoint_analytics.agents.log.rotations import Rotations

ALIKE = b'INFO:     203.0.113.7:0 - "POST /predict HTTP/1.1" 200 OK'


class Log:
    """A log and its writer, and a reader that can be restarted where it stopped."""

    def __init__(self, directory: Path, *, alike: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.alike = alike
        self.path = directory / "access.log"
        self.file = self.path.open("ab", buffering=0)
        self.written: list[bytes] = []
        self.read: list[bytes] = []
        self.now_s = 0.0
        self.follower = Follower(self.path, None)
        self.position: Position | None = None

    def write(self, number: int = 1) -> None:
        for _ in range(number):
            line = ALIKE if self.alike else b"line %d of this log" % len(self.written)
            self.written.append(line)
            self.file.write(line + b"\n")

    def poll(self) -> None:
        """Read everything, including the grace period for renamed files."""
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
        """Like logrotate with `create`: the writer is signalled to reopen."""
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
        if self.alike:
            time.sleep(0.01)  # rotations are distinguished by their times
        for number in range(8, 0, -1):
            for end in ("", ".gz", ".bz2", ".xz"):
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
    log.poll()  # the new one is there, and empty: its writer has not reopened it
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
              "error.log.1", "access.log2", "xaccess.log.1", "access.log.1.bz2.tmp/", "access.log.3.zst"]  # fmt: skip
    for name in theirs + others:
        if name.endswith("/"):
            (tmp_path / name).mkdir()
        else:
            with (
                gzip.open(tmp_path / name, "wb")
                if name.endswith(".gz")
                else (tmp_path / name).open("wb") as file
            ):
                file.write(b"a line\n")
    assert {found.path.name for found in Rotations(path).files()} == set(theirs)


def test_another_file_at_the_old_inode_is_not_taken_for_it(log):
    log.write(3)
    log.poll()
    position = log.position
    log.path.write_bytes(b"something else, and longer than what stood here before " * 4)  # the same inode
    assert log.path.stat().st_ino == position.inode
    assert Rotations(log.path).find(position) is None


def pack(path: Path, opened=gzip.open) -> Path:
    """Compress a file as Caddy does: the compressed one is new."""
    packed = path.with_name(f"{path.name}.{opened.__module__.replace('gzip', 'gz').replace('lzma', 'xz')}")
    with path.open("rb") as plain, opened(packed, "wb") as file:
        shutil.copyfileobj(plain, file)
    path.unlink()
    return packed


def test_what_was_read_is_not_read_again_when_it_is_compressed(log):
    log.write(3)
    log.poll()
    log.rename()
    log.poll()
    pack(log.path.with_name("access.log.1"))  # before the new log has a line
    log.poll()
    log.write(3)
    log.poll()
    log.rename()
    log.write(1)
    pack(log.path.with_name("access.log.1"))
    log.poll()
    log.restart()
    log.poll()
    assert log.read == log.written


def test_a_copy_that_is_still_being_made_is_not_used(log):
    log.write(200)
    log.poll()
    log.path.with_name("access.log.1").write_bytes(log.path.read_bytes()[:2_000])
    log.poll()
    log.write(1)
    os.truncate(log.path, 0)
    log.path.with_name("access.log.1").write_bytes(b"".join(line + b"\n" for line in log.written))
    log.write(1)
    log.poll()
    assert log.read == log.written


def test_what_was_rotated_before_the_first_start_is_not_read(tmp_path):
    earlier = Log(tmp_path)
    earlier.write(3)
    earlier.rename()
    earlier.close()
    log = Log(tmp_path)
    log.write(1)
    log.poll()
    pack(log.path.with_name("access.log.1"))
    log.poll()
    log.rename()
    log.write(1)
    log.poll()
    assert log.read == log.written
    log.close()


@pytest.mark.parametrize("opened", [gzip.open, bz2.open, lzma.open])
def test_all_that_was_rotated_while_the_reader_was_away_is_read(log, opened):
    log.write(3)
    log.poll()
    log.follower.close()
    for turn in range(4):
        log.write(2)
        log.copy_and_truncate() if turn == 2 else log.rename()
        if turn in {1, 3}:
            pack(log.path.with_name("access.log.1"), opened)
    log.write(2)
    log.restart()
    log.poll()
    assert sorted(log.read) == sorted(log.written)


def test_a_log_that_came_and_was_rotated_while_the_reader_was_away(tmp_path):
    first = Follower(tmp_path / "access.log", None, from_end=True)
    assert first.poll(0) is None
    log = Log(tmp_path)
    log.write(3)
    log.rename()
    log.write(1)
    log.follower, log.position = Follower(log.path, first.position, from_end=True), first.position
    log.poll()
    assert log.read == log.written
    log.close()


def test_an_empty_log_that_is_filled_and_rewritten_between_two_looks(log):
    log.poll()
    log.write(3)
    log.copy_and_truncate()
    log.write(2)
    log.poll()
    assert log.read == log.written


def test_a_link_that_leads_elsewhere_each_time(tmp_path):
    link, days = tmp_path / "current.log", [tmp_path / "day-a.txt", tmp_path / "day-b.txt"]
    days[0].write_bytes(b"1\n2\n")
    link.symlink_to(days[0].name)
    follower = Follower(link, None)
    assert follower.poll(0).lines == [b"1", b"2"]
    position = follower.position
    follower.close()
    with days[0].open("ab") as file:
        file.write(b"3\n")
    days[1].write_bytes(b"4\n")
    link.unlink()
    link.symlink_to(days[1].name)
    follower = Follower(link, position)
    assert follower.poll(0).lines == [b"3"]
    assert follower.poll(1) is None
    assert follower.poll(1 + GRACE_S) is None
    assert follower.poll(1 + GRACE_S).lines == [b"4"]
    follower.close()


def test_what_rotates_next_to_the_links_target(tmp_path):
    (tmp_path / "pod").mkdir()
    log = Log(tmp_path / "pod")
    link = tmp_path / "container.log"
    link.symlink_to(log.path)
    log.path, own = link, log.path
    log.follower = Follower(link, None)
    log.write(2)
    log.poll()
    log.follower.close()
    log.write(2)
    own.rename(own.with_name("access.log.20261124-201500"))
    pack(own.with_name("access.log.20261124-201500"))
    log.file.close()
    log.file = own.open("ab", buffering=0)
    log.write(1)
    log.restart()
    log.poll()
    assert log.read == log.written
    log.close()


def test_a_damaged_compressed_file_is_read_until_its_damage(log, caplog):
    log.write(1)
    log.poll()
    log.follower.close()
    for _ in range(5_000):
        log.written.append(b"line %d of this log, %s" % (len(log.written), os.urandom(20).hex().encode()))
        log.file.write(log.written[-1] + b"\n")
    log.rename()
    packed = pack(log.path.with_name("access.log.1"))
    os.truncate(packed, packed.stat().st_size // 2)
    log.write(2)
    log.restart()
    log.poll()
    assert log.read[-2:] == log.written[-2:]
    assert 1_000 < len(log.read) < 4_000
    assert log.read[:1_000] == log.written[:1_000]
    assert sum("is damaged" in record.getMessage() for record in caplog.records) == 1


STEPS = st.lists(
    st.sampled_from(
        ["write", "write", "write", "poll", "restart", "rename", "compress", "compress later", "truncate"]
    ),
    max_size=14,
)


@settings(max_examples=100)
@given(STEPS, st.booleans())
def test_however_it_is_turned_over_each_line_is_given_once(tmp_path_factory, steps, alike):
    log = Log(tmp_path_factory.mktemp("log"), alike=alike)
    log.write(2)
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
                log.rename(compress=True)
            elif step == "compress later":
                for path in log.path.parent.glob("access.log.*[0-9]"):
                    changed = path.stat()
                    packed = pack(path)
                    if alike:  # as gzip and logrotate do
                        os.utime(packed, ns=(changed.st_atime_ns, changed.st_mtime_ns))
            else:
                log.write(1)
                log.copy_and_truncate()
        log.write(2)
        log.poll()
        assert sorted(log.read) == sorted(log.written)
    finally:
        log.close()
        shutil.rmtree(log.path.parent)


@pytest.mark.parametrize("is_away", [False, True])
@pytest.mark.parametrize("more", [1, 40, 90])
def test_lines_that_are_alike_are_each_given_once_when_the_log_is_copied_and_truncated(
    tmp_path, more, is_away
):
    """However much is written before the next poll: the new content looks like the old."""
    log = Log(tmp_path, alike=True)
    for _ in range(3):
        log.write(40)
        log.poll()
        if is_away:
            log.follower.close()
        log.write(2)
        log.copy_and_truncate()
        log.write(more)
        if is_away:
            log.restart()
        log.poll()
        assert len(log.read) == len(log.written)
    log.close()


def test_a_copy_that_is_only_a_copy_changes_nothing(log):
    """logrotate's `copy`, and a copy made by hand, where most lines differ."""
    log.file.write(b"".join(b"probe\n" for _ in range(200)))
    log.written += [b"probe"] * 200
    log.write(500)
    log.poll()
    shutil.copy2(log.path, log.path.with_name("access.log.1"))
    log.write(3)
    log.poll()
    log.restart()
    log.write(1)
    log.poll()
    assert log.read == log.written


class Looks:
    """Calls `then` once, just before a program opens or lists what is in `directory`, at the `number`th time."""

    directory: Path | None = None
    number = 0
    then: Callable[[], None]
    is_hooked = False

    @classmethod
    @contextmanager
    def at(cls, directory: Path, number: int, then: Callable[[], None]) -> Iterator[None]:
        if not cls.is_hooked:
            cls.is_hooked = True
            sys.addaudithook(cls._hear)  # for the whole life of the process
        cls.directory, cls.number, cls.then = directory, number, then
        try:
            yield
        finally:
            cls.directory = None

    @classmethod
    def _hear(cls, event: str, arguments: tuple[object, ...]) -> None:
        if cls.directory is None or event not in {"open", "os.scandir"}:
            return
        if not str(arguments[0]).startswith(str(cls.directory)):
            return
        cls.number -= 1
        if cls.number == 0:
            cls.directory = None
            cls.then()


@pytest.mark.parametrize("before", ["rename", "compress", "truncate", "nothing"])
@pytest.mark.parametrize("meanwhile", ["rename", "compress", "truncate", "compress older", "twice"])
@pytest.mark.parametrize("is_away", [False, True])
def test_a_log_that_is_turned_over_while_it_is_looked_at(tmp_path, caplog, before, meanwhile, is_away):
    """At each point where the reader looks: its knowledge of the files is outdated when it opens one."""

    def turn_over(log: Log, how: str) -> None:
        if how == "truncate":
            log.copy_and_truncate()
        elif how in {"rename", "compress"}:
            log.rename(compress=how == "compress")
        elif how == "compress older":
            for path in log.path.parent.glob("access.log.*[0-9]"):
                pack(path)
        elif how == "twice":
            log.rename()
            log.write(3)
            log.rename(compress=True)

    looks = 0
    has_come = True
    while has_come:
        looks += 1
        log = Log(tmp_path / str(looks))
        log.write(3)
        log.poll()
        log.rename()
        log.write(3)
        log.poll()
        log.write(2)
        if is_away:
            log.follower.close()
        turn_over(log, before)
        log.write(3)
        has_come = False

        def meantime(log: Log = log) -> None:
            nonlocal has_come
            has_come = True
            turn_over(log, meanwhile)
            log.write(1)

        with Looks.at(log.path.parent, looks, meantime):
            if is_away:
                log.restart()
            log.poll()
        log.write(2)
        log.poll()
        assert sorted(log.read) == sorted(log.written), f"turned over before look {looks}"
        log.close()
    assert looks > 3 or (before == "nothing" and not is_away)
    assert "missing" not in caplog.text
