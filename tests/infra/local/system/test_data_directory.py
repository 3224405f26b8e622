"""A data directory has one holder, whose process ID is reported to the next."""

import os
import subprocess
from pathlib import Path

import pytest

from endpoint_analytics.infra.local.system.data_directory import DirectoryInUseError, lock_directory


def test_a_second_holder_gets_an_error_naming_the_first(tmp_path: Path) -> None:
    with lock_directory(tmp_path / "data"), pytest.raises(DirectoryInUseError) as caught:
        lock_directory(tmp_path / "data")
    assert str(caught.value) == (
        f"the data directory {tmp_path / 'data'} is in use by process {os.getpid()}: "
        "stop it, or choose another directory"
    )


def test_a_released_directory_can_be_held_again(tmp_path: Path) -> None:
    lock = lock_directory(tmp_path)
    lock.release()
    lock.release()
    lock_directory(tmp_path).release()


def test_a_child_that_inherited_it_holds_the_directory_on(tmp_path: Path) -> None:
    lock = lock_directory(tmp_path)
    with subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()]) as child:
        lock.release()
        with pytest.raises(DirectoryInUseError):
            lock_directory(tmp_path)
        child.kill()
    lock_directory(tmp_path).release()


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/data"):
        lock_directory(tmp_path / "file" / "data")


def test_other_users_cannot_read_it(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    lock_directory(data).release()
    assert data.stat().st_mode & 0o777 == 0o700
