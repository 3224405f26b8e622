"""Building the page: with the machine's Node or the wheel's, and into the wheel that people install."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import build_page
import pytest

ROOT = Path(__file__).parent.parent


def fake(folder, name, says):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho {says}\n")
    (folder / name).chmod(0o755)


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


def test_a_wheel_has_the_page_and_not_its_sources(tmp_path):
    """Built by the backend from what git tracks, as `pip wheel` does."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    source = tmp_path / "source"
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    (source / "node_modules").symlink_to(ROOT / "node_modules")
    build = "import build_page, sys; print(build_page.build_wheel(sys.argv[1]))"
    said = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr[-2000:]
    names = zipfile.ZipFile(tmp_path / said.stdout.split()[-1]).namelist()
    page = [name.partition("/serve/page/")[2] for name in names if "/serve/page/" in name]
    assert "dist/index.html" in page
    assert {Path(name).suffix for name in page} == {".html", ".js", ".css", ".woff2", ".svg", ".txt", ".gz"}
    assert all(name.startswith("dist/") for name in page)
    assert any(name.startswith("dist/app-") and name.endswith(".js.gz") for name in page)
