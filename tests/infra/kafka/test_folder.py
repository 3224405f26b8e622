"""A data folder has one holder, who is named to the next."""

import os
import subprocess
from pathlib import Path

import pytest

from endpoint_analytics.infra.kafka.errors import FolderInUseError, KafkaError
from endpoint_analytics.infra.kafka.folder import FolderLock


def test_a_second_holder_is_told_the_folder_and_the_first(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "data"), pytest.raises(FolderInUseError) as caught:
        FolderLock(tmp_path / "data")
    assert str(caught.value) == (
        f"the data folder {tmp_path / 'data'} is in use by another Kafka: process {os.getpid()}. "
        "Stop that one, or choose another folder"
    )


def test_a_released_folder_can_be_held_again(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.release()
    lock.release()
    FolderLock(tmp_path).release()


def test_a_child_that_inherited_it_holds_the_folder_on(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()]) as child:
        lock.release()
        with pytest.raises(FolderInUseError):
            FolderLock(tmp_path)
        child.kill()
    FolderLock(tmp_path).release()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KafkaError, match=r"cannot use .*file/data as Kafka's data folder"):
        FolderLock(tmp_path / "file" / "data")


def test_nobody_else_can_look_into_it(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    FolderLock(data).release()
    assert data.stat().st_mode & 0o777 == 0o700
