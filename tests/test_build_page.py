"""Building the page: with the machine's Node or the wheel's, and into the wheel that people install."""

import os
import subprocess
from pathlib import Path

import build_page
import pytest

ROOT = Path(__file__).parent.parent


def fake(directory, name, says):
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\necho {says}\n")
    (directory / name).chmod(0o755)


@pytest.mark.outside
def test_the_machines_node_is_used_when_it_is_new_enough(tmp_path, monkeypatch):
    fake(tmp_path / "bin", "node", "v22.1.0")
    fake(tmp_path / "bin", "npm", "11.0.0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert build_page.find_npm() == [str(tmp_path / "bin" / "npm")]


@pytest.mark.parametrize("version", ["v18.20.0", None])
def test_else_the_wheels_node_runs_npm(tmp_path, monkeypatch, version):
    (tmp_path / "bin").mkdir()
    if version:
        fake(tmp_path / "bin", "node", version)
        fake(tmp_path / "bin", "npm", "9.0.0")
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(tmp_path / "bin"), "/usr/bin", "/bin"]) if version else str(tmp_path)
    )
    node, npm = build_page.find_npm()
    assert Path(node).name == "node"
    said = subprocess.run([node, npm, "--version"], capture_output=True, text=True, check=True).stdout
    assert int(said.split(".")[0]) >= 10
