"""Several processes of one replica: one state, reported once, and one process samples the hardware."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import pytest

from endpoint_analytics.agents.core.file_lock import LockHeldError, locked
from endpoint_analytics.agents.replica.process_group import ProcessGroup, combined, runtime_directory

KILLED = """
import os, signal, sys
from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
from endpoint_analytics.agents.replica.process_group import ProcessGroup
config = AgentConfig(namespace="acme", endpoint="classifier", replica_id="replica-1",
    kafka=KafkaConfig(bootstrap_servers="127.0.0.1:1"))
one = ProcessGroup(config, "killed")
one.enter("running", 5, "")
assert one.may_sample()
print("there", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def join(make_config):
    def join(name: str, **settings: object) -> ProcessGroup:
        return ProcessGroup(make_config(**settings), name)

    return join


@pytest.fixture
def other_process():
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"there\n"
    yield process
    process.kill()
    process.communicate()


def test_the_best_state_of_the_living_is_the_replicas():
    assert combined(["draining", "running", "initializing"]) == "running"
    assert combined(["draining", "initializing"]) == "initializing"
    assert combined(["draining", "draining"]) == "draining"
    assert combined([]) is None


def test_one_process_reports_its_own_life(join):
    one = join("a")
    life = ("initializing", "running", "draining", "terminated")
    assert [one.enter(state, at, "") for at, state in enumerate(life, 1)] == [
        (state, at, "") for at, state in enumerate(life, 1)
    ]


def test_two_processes_report_one_life(join):
    one, two = join("a"), join("b")
    reported = [
        one.enter("initializing", 10, ""),
        two.enter("initializing", 11, ""),
        two.enter("running", 12, ""),
        one.enter("running", 13, ""),
        one.enter("draining", 14, ""),
        two.enter("draining", 15, ""),
        one.enter("terminated", 16, ""),
        two.enter("terminated", 17, ""),
    ]
    assert [event for event in reported if event] == [
        ("initializing", 10, ""),
        ("running", 12, ""),
        ("draining", 15, ""),
        ("terminated", 17, ""),
    ]


def test_a_worker_that_is_recycled_ends_no_replica(join):
    one, two = join("a"), join("b")
    one.enter("running", 1, "")
    two.enter("running", 2, "")
    for at, name in enumerate("cdef"):
        assert one.enter("terminated", 10 + at, "") is None
        one = join(name)
        assert one.enter("initializing", 20 + at, "") is None
        assert one.enter("running", 30 + at, "") is None
    assert two.enter("terminated", 50, "") is None
    assert one.enter("terminated", 51, "") == ("terminated", 51, "")


def test_a_killed_process_is_forgotten(join, other_process):
    one = join("a")
    assert one.enter("running", 10, "") is None
    other_process.kill()
    other_process.wait()
    assert one.enter("terminated", 20, "") == ("terminated", 20, "")


def test_after_all_were_killed_a_new_life_begins(join, other_process):
    other_process.kill()
    other_process.wait()
    assert join("a").enter("initializing", 10, "") == ("initializing", 10, "")


def test_a_failure_is_the_replicas_when_nobody_else_lives(join):
    one, two = join("a"), join("b")
    one.enter("initializing", 1, "")
    two.enter("initializing", 2, "")
    assert one.enter("failed", 3, "no memory") is None
    assert two.enter("failed", 4, "no memory") == ("failed", 4, "no memory")


def test_reported_times_rise_whichever_process_reports(join):
    one = join("a")
    one.enter("running", 100, "")
    assert one.enter("terminated", 200, "") == ("terminated", 200, "")
    assert join("b").enter("initializing", 150, "") == ("initializing", 201, "")


def test_replicas_and_destinations_do_not_meet(join):
    assert join("a").enter("running", 1, "")
    assert join("b", replica_id="replica-2").enter("running", 1, "")
    assert join("c", endpoint="other").enter("running", 1, "")


def test_one_process_samples_and_another_takes_over_when_it_is_killed(join, other_process):
    one = join("a")
    assert not one.may_sample()
    other_process.kill()
    other_process.wait()
    assert one.may_sample()
    assert not join("b").may_sample()
    one.leave()
    assert not one.may_sample()
    assert join("b").may_sample()


@pytest.mark.outside
def test_a_forked_child_holds_nothing_of_its_parents(join):
    one = join("a")
    one.enter("running", 1, "")
    assert one.may_sample()
    reading, writing = os.pipe()
    begun, began = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child outlives what its parent releases
        os.write(began, b".")
        os.read(reading, 1)
        os._exit(0)
    try:
        os.read(begun, 1)
        one.leave()
        two = join("b")
        assert two.may_sample()
        assert two.enter("terminated", 2, "") == ("terminated", 2, "")
    finally:
        os.write(writing, b".")
        os.waitpid(pid, 0)
        for descriptor in (reading, writing, begun, began):
            os.close(descriptor)


def test_without_a_directory_each_speaks_for_itself(join, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY", str(tmp_path / "file"))
    one, two = join("a"), join("b")
    assert one.enter("running", 1, "")
    assert two.enter("running", 2, "")
    assert one.may_sample()
    assert two.may_sample()


def test_a_directory_that_vanishes_stops_nothing(join, monkeypatch, tmp_path):
    monkeypatch.setenv("ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY", str(tmp_path / "there"))
    one = join("a")
    (tmp_path / "there").rmdir()
    assert one.enter("running", 1, "") == ("running", 1, "")


def test_the_users_own_directory_is_nobody_elses(monkeypatch, tmp_path):
    monkeypatch.delenv("ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = runtime_directory()
    assert directory == tmp_path / f"endpoint-analytics-{os.getuid()}"
    assert directory.stat().st_mode & 0o777 == 0o700
    directory.chmod(0o777)
    assert runtime_directory() is None
    directory.rmdir()
    directory.symlink_to(tmp_path)
    assert runtime_directory() is None


def test_a_process_that_keeps_the_lock_for_long_isolates_nobody(join, monkeypatch):
    """It was throttled, or stopped by a debugger: the others try again, and are one replica with it afterwards."""
    monkeypatch.setattr("endpoint_analytics.agents.replica.process_group.LOCK_WAIT_S", 0.01)
    one, two = join("a"), join("b")
    assert one.enter("running", 1, "") == ("running", 1, "")
    assert one.may_sample()
    with locked(runtime_directory() / "lock", 1), pytest.raises(LockHeldError):
        two.enter("initializing", 2, "")
    assert two.enter("initializing", 3, "") is None  # the replica is running
    assert not two.may_sample()
    assert two.enter("terminated", 4, "") is None


def test_files_that_were_removed_by_age_are_made_again(join):
    one, two = join("a"), join("b")
    assert one.enter("running", 1, "") == ("running", 1, "")
    assert one.may_sample()
    for path in runtime_directory().iterdir():
        path.unlink()
    one.keep_files()
    assert two.enter("running", 2, "") in (None, ("running", 2, ""))
    assert one.may_sample()
    assert not two.may_sample()
    assert two.enter("terminated", 3, "") is None
    assert one.enter("terminated", 4, "") == ("terminated", 4, "")


def test_the_last_try_does_without_the_lock(join, monkeypatch):
    """A process that stops while another one, stopped by a debugger, holds the lock."""
    monkeypatch.setattr("endpoint_analytics.agents.replica.process_group.LOCK_WAIT_S", 0.01)
    one, two = join("a"), join("b")
    one.enter("running", 1, "")
    two.enter("running", 2, "")
    with locked(runtime_directory() / "lock", 1):
        assert one.enter("terminated", 3, "", is_last_try=True) is None  # the other one runs
        assert two.enter("terminated", 4, "", is_last_try=True) == ("terminated", 4, "")


@pytest.mark.parametrize("error", [errno.ETIMEDOUT, errno.ESTALE, errno.EIO])
def test_a_file_system_that_fails_isolates_the_process(join, monkeypatch, error):
    """ETIMEDOUT is a TimeoutError in Python: it is not another process's lock."""
    one = join("a")

    def fail(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("endpoint_analytics.agents.core.file_lock.fcntl.flock", fail)
    assert one.enter("running", 1, "") == ("running", 1, "")
    assert one.enter("terminated", 2, "") == ("terminated", 2, "")


def test_a_directory_that_is_removed_is_made_again_and_the_replica_told_to_live(join):
    one, two = join("a"), join("b")
    one.enter("running", 1, "")
    two.enter("running", 2, "")
    shutil.rmtree(runtime_directory())
    assert one.enter("terminated", 3, "") == ("terminated", 3, "")  # the other one cannot be seen
    assert two.keep_files()
    assert two.enter("running", 4, "") == ("running", 4, "")
    assert not two.keep_files()


def test_a_directory_that_became_a_file_stops_nothing(join):
    one = join("a")
    one.enter("running", 1, "")
    assert one.may_sample()
    directory = runtime_directory()
    shutil.rmtree(directory)
    directory.touch()
    one.keep_files()
    one.keep_files()
    assert one.may_sample()
    assert one.enter("terminated", 2, "") == ("terminated", 2, "")


def test_a_text_that_is_none_isolates_nobody(join):
    one, two = join("a"), join("b")
    one.enter("running", 1, "")
    one._own.path.write_bytes(b"\xff\xfe")
    two.enter("running", 2, "")
    assert one.may_sample()
    assert not two.may_sample()


@pytest.mark.outside
@pytest.mark.skipif(os.getuid() != 0, reason="only root may change its user")
def test_a_server_that_gives_up_its_rights_goes_on(make_config, tmp_path):
    """Many servers start as root and become somebody else: root's directory is then closed to them."""
    (tmp_path / "private").mkdir(mode=0o700)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.environ["ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY"] = str(tmp_path / "private")
            group = ProcessGroup(make_config(), "a")
            assert group.enter("running", 1, "") == ("running", 1, "")
            assert group.may_sample()
            os.setgid(65534)
            os.setuid(65534)
            assert not group.keep_files()
            assert group.may_sample()
            assert group.enter("terminated", 2, "") == ("terminated", 2, "")
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_files_in_use_never_grow_old(join):
    one = join("a")
    one.enter("running", 1, "")
    assert one.may_sample()
    files = list(runtime_directory().iterdir())
    assert len(files) == 4
    for path in files:
        os.utime(path, (1, 1))
    one.keep_files()
    assert all(path.stat().st_mtime > 1 for path in files)
