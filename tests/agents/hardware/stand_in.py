"""Shared libraries that stand in for a GPU driver's, built here, and a process that uses one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = Path(__file__).parent / "probe.py"
VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ROCM_HOME", "ROCM_PATH")


def compile_library(library: Path, *sources: Path) -> None:
    """Compile the sources; skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip(
            "a C compiler is not installed (cc, gcc or clang): the stand-in for a driver's library needs one"
        )
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), *map(str, sources)],
        check=True,
    )


class Driver:
    """A machine whose driver follows the script; `sample()` is one sample of a collector there."""

    def __init__(self, directory: Path, script: str, arguments: list[str], **environment: str) -> None:
        self.script = directory / "script"
        self.says(script)
        self.log = directory / "log"
        plain = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROBE), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=plain | environment,
            )

    def says(self, script: str) -> None:
        """From now on it says this."""
        new = self.script.with_suffix(".new")
        new.write_text(script + "\n")
        new.replace(self.script)

    def sample(self) -> list[dict[str, object]]:
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
