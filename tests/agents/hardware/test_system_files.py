"""Unreadable files are logged once, and again after they were readable."""

from __future__ import annotations

import pytest

from endpoint_analytics.agents.hardware import system_files
from endpoint_analytics.agents.hardware.system_files import SystemFiles, parse_number, parse_table


def test_a_file_that_was_never_there_is_nothing_to_say(tmp_path, caplog):
    files = SystemFiles()
    assert files.text(tmp_path / "cpu.max") is None
    assert files.number(tmp_path / "cpu.max") is None
    assert files.table(tmp_path / "cpu.stat") == {}
    assert not caplog.records


def test_a_file_that_vanishes_is_said_once_until_it_is_back(tmp_path, caplog):
    files, path = SystemFiles(), tmp_path / "memory.current"
    for _ in range(2):
        path.write_text("12\n")
        assert files.number(path) == 12
        path.unlink()
        for _ in range(3):
            assert files.number(path) is None
    assert caplog.text.count(f"cannot read {path}") == 2


def test_a_file_that_may_not_be_read_is_said_once(tmp_path, caplog):
    path = tmp_path / "directory"
    path.mkdir()  # opens, and reading it is an error
    files = SystemFiles()
    assert [files.text(path), files.text(path)] == [None, None]
    assert caplog.text.count("its metrics are missing: Is a directory") == 1


def test_what_the_kernel_has_switched_off_is_nothing_to_say(tmp_path, caplog, monkeypatch):
    def off(path):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(system_files, "_read", off)  # as a kernel with psi=0 answers
    assert SystemFiles().text(tmp_path / "cpu.pressure") is None
    assert not caplog.records


def test_long_files_are_whole(tmp_path):
    (tmp_path / "long").write_text("x" * 200_000)
    assert len(SystemFiles().text(tmp_path / "long")) == 200_000


@pytest.mark.parametrize(
    ("text", "number"), [("12\n", 12), ("-1\n", -1), ("max\n", None), ("", None), (None, None), ("1 2", None)]
)
def test_numbers(text, number):
    assert parse_number(text) == number


def test_tables():
    assert parse_table("usage_usec 12\nnr_periods 0\nbad\nworse x\n") == {"usage_usec": 12, "nr_periods": 0}
