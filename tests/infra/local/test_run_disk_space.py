"""Disk space: when it is low or used up, and the message about it, which is not repeated."""

import os
from pathlib import Path

import pytest

from endpoint_analytics.infra.local.disk_space import (
    MIB,
    FreeSpace,
    message_for,
    read_free_space,
    state_after,
)

DATA = Path("data")


def say(*free_mib, files=None):
    """Return the messages for a sequence of readings of free MiB."""
    state, said = "ample", []
    for free in free_mib:
        space = FreeSpace(free * MIB, files)
        before, state = state, state_after(state, space)
        said.append(message_for(before, state, space, DATA))
    return said


def test_enough_space_gives_no_message():
    assert say(10_000, 600, 10_000) == ["", "", ""]


def test_low_full_and_free_again_are_each_reported_once():
    short, short_again, full, full_again, free_again = say(400, 300, 10, 20, 10_000)
    assert short == "the disk of data is nearly full: 400 MiB left. Free some space before it fills up"
    assert full.startswith("the disk of data is full: 10 MiB left. Nothing acknowledged is lost")
    assert free_again == "the disk of data has space again: 10000 MiB free"
    assert (short_again, full_again) == ("", "")


def test_it_is_not_said_again_and_again_at_the_limit():
    assert [bool(words) for words in say(60, 70, 60, 70, 95, 100)] == [True, False, False, False, False, True]


def test_a_disk_without_free_inodes_is_full():
    [words] = say(10_000, files=3)
    assert words.startswith("the disk of data is full: 10000 MiB and 3 files left")


def test_a_directory_is_read(tmp_path):
    assert read_free_space(tmp_path).free_bytes == pytest.approx(
        os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.2
    )
