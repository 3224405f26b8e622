"""The top-level command: its version and its list of commands."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from endpoint_analytics.infra.command import COMMANDS, main

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_version_is_that_of_pyproject(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    version = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]
    assert capsys.readouterr().out == f"endpoint-analytics {version}\n"


def test_help_lists_every_command_with_its_description(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for name, (_, text) in COMMANDS.items():
        assert f"{name:<12} {text}" in lines


@pytest.mark.outside
def test_output_that_nobody_reads_to_its_end_ends_a_command_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "endpoint_analytics.infra.command", "doctor", "--kafka", "127.0.0.1:1"]
    try:
        ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")
