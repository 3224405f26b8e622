"""Locks between processes on a real file: one holder, released by death, removal and forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.support.waiting import until

from endpoint_analytics.agents.core.file_lock import LockHeldError, acquire, holder_of, is_locked, locked

HOLD = """
import sys, time
from pathlib import Path
from endpoint_analytics.agents.core.file_lock import acquire
lock = acquire(Path(sys.argv[1]))
print(lock is not None, flush=True)
time.sleep(60)
"""


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path)
    lock = acquire(path)
    assert lock is not None
    assert lock.is_held
    assert acquire(path) is None
    assert is_locked(path)
    lock.release()
    lock.release()
    assert (lock.is_held, lock.fileno(), is_locked(path)) == (False, -1, False)
    with acquire(path) as again:
        assert again.fileno() >= 0
    assert not is_locked(path)


def test_those_who_ask_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    asking = os.open(path, os.O_RDONLY)
    try:
        import fcntl

        fcntl.flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert not is_locked(path)
    finally:
        os.close(asking)


def test_the_file_is_private_and_says_who_holds_it(tmp_path):
    path = tmp_path / "lock"
    assert holder_of(path) == "unknown"
    with acquire(path) as lock:
        assert path.stat().st_mode & 0o777 == 0o600
        assert holder_of(path) == "unknown"
        lock.write("a longer text")
        lock.write("1234\n")
        assert path.read_text() == "1234\n"
        assert holder_of(path) == "1234"
    lock.write("nothing is written once it is released")
    assert path.read_text() == "1234\n"


def test_a_touch_renews_the_times_of_a_lock_that_is_held_and_still_there(tmp_path):
    path = tmp_path / "lock"
    lock = acquire(path)
    os.utime(path, (1_000, 1_000))
    assert lock.touch()
    assert path.stat().st_mtime > 1_000_000
    path.unlink()
    assert not lock.touch()
    lock.release()
    assert not lock.touch()


def test_a_file_that_its_holder_removed_is_made_again(tmp_path, monkeypatch):
    """Between opening the file and locking it: the lock would be one on a file that nobody else sees."""
    import fcntl

    path = tmp_path / "lock"
    flock, removed = fcntl.flock, []

    def remove_first(descriptor, operation):
        if not removed:
            removed.append(path.unlink())
        flock(descriptor, operation)

    monkeypatch.setattr("endpoint_analytics.agents.core.file_lock.fcntl.flock", remove_first)
    with acquire(path) as lock:
        assert removed
        there, ours = path.stat(), os.fstat(lock.fileno())
        assert (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def test_what_fails_leaves_nothing_open(tmp_path):
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with acquire(tmp_path / "held"):
        before = descriptors()
        for _ in range(3):
            assert acquire(tmp_path / "held") is None
            assert is_locked(tmp_path / "held")
            with pytest.raises(FileNotFoundError):
                acquire(tmp_path / "missing" / "lock")
        assert descriptors() == before


def test_waiting_ends_when_the_holder_lets_go(tmp_path):
    path = tmp_path / "lock"
    lock = acquire(path)
    begun = time.monotonic()
    threading.Timer(0.1, lock.release).start()
    with locked(path, 30):
        assert time.monotonic() - begun > 0.05
        assert is_locked(path)
    assert not is_locked(path)


def test_waiting_has_an_end(tmp_path):
    path = tmp_path / "lock"
    begun = time.monotonic()
    with acquire(path), pytest.raises(LockHeldError, match="still holds"), locked(path, 0.05):
        raise AssertionError("it was held by two")
    assert 0.05 <= time.monotonic() - begun < 20


@pytest.mark.outside
def test_the_lock_ends_with_its_process_however_that_dies(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"True\n"
        assert is_locked(path)
        assert acquire(path) is None
        child.kill()
        child.wait()
    with acquire(path) as lock:
        assert lock.is_held


@pytest.mark.outside
def test_a_forked_child_lets_go_of_what_it_inherited(tmp_path):
    path = tmp_path / "lock"
    lock = acquire(path)
    child = os.fork()
    if child == 0:
        os._exit(0 if not lock.is_held else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert is_locked(path)
    lock.release()
    assert not is_locked(path)


@pytest.mark.outside
def test_a_child_forked_while_a_lock_is_taken_lets_go_of_it_too(tmp_path):
    """A thread takes and releases a lock while another one forks: children live on, and hold nothing."""
    path, done = tmp_path / "lock", threading.Event()

    def take():
        while not done.is_set():
            if (lock := acquire(path)) is not None:  # a child may not have let go yet
                lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    children = []
    reading, writing = os.pipe()
    try:
        for _ in range(60):
            child = os.fork()
            if child == 0:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)
            children.append(child)
    finally:
        done.set()
        thread.join(30)
    try:
        until(lambda: not is_locked(path))
    finally:
        os.close(writing)
        os.close(reading)
        for child in children:
            os.waitpid(child, 0)
