"""Runs the fast tests on the newest Python of this machine: `make test-newest`.

All tests run on the Python of .venv, which in CI is the oldest supported one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.parts import ROOT

EXTRAS = "local,kubernetes,otlp,test"
FAST = (
    "tests/schemas",
    "tests/pipeline/core",
    "tests/pipeline/store/test_query_group.py",
    "tests/pipeline/stream",
    "tests/agents/hardware",
    "tests/agents/scrape",
    "tests/agents/core",
    "tests/agents/delivery/test_outbox.py",
    "tests/agents/replica",
    "tests/agents/command/test_commands.py",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests/agents/middleware").glob("test_*.py")),
)


def interpreters() -> Iterator[Path]:
    """Yield candidates for Python 3.11 or newer: in PATH, and in pyenv's directory."""
    for minor in range(11, 30):
        if found := shutil.which(f"python3.{minor}"):
            yield Path(found)
    yield from Path.home().glob(".pyenv/versions/3.*/bin/python")


def version_of(python: Path) -> tuple[int, ...]:
    """Return a Python's version, or () if it does not run."""
    done = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
    found = re.fullmatch(r"Python (\d+)\.(\d+)\.(\d+)", done.stdout.strip())
    return tuple(int(number) for number in found.groups()) if done.returncode == 0 and found else ()


def main() -> int:
    newest = max(interpreters(), key=version_of, default=Path(sys.executable))
    version = version_of(newest)
    if version[:2] <= sys.version_info[:2]:
        print(f"no Python newer than {sys.version.split()[0]} found: nothing more to test")
        return 0
    name = ".".join(str(number) for number in version)
    directory = ROOT / "build" / "pythons" / name
    python = directory / "bin" / "python"
    print(f"==> running the fast tests on Python {name}", flush=True)
    subprocess.run([newest, "-m", "venv", "--clear", directory], check=True)
    install: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "-c",
        ROOT / "constraints.txt",
    ]
    subprocess.run([*install, "-e", f"{ROOT}[{EXTRAS}]"], check=True)
    test: list[str | Path] = [python, "-m", "pytest", "-q", "-m", "not slow and not whole", *FAST]
    return subprocess.run(test, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
