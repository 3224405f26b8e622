"""A small shared library of ours that stands for the NVIDIA driver's, built here, and a process that uses it.

pynvml opens `libnvidia-ml.so.1` by name, so that the dynamic loader finds ours first where LD_LIBRARY_PATH says.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def build(folder: Path) -> Path:
    """Return the folder with the library; skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip(
            "no C compiler (cc, gcc or clang): the stand-in for the NVIDIA driver's library needs one"
        )
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(folder / "libnvidia-ml.so.1"),
         str(HERE / "stand_in.c")],
        check=True,
    )  # fmt: skip
    return folder


class Driver:
    """A machine whose driver says what the script says; `sample()` is one look of a collector there."""

    def __init__(self, library: Path, folder: Path, script: str, *own: int, **environment: str) -> None:
        self.script = folder / "script"
        self.says(script)
        self.log = folder / "log"
        plain = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "probe.py"), *map(str, own)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=plain | {"LD_LIBRARY_PATH": str(library), "NVML_SCRIPT": str(self.script)} | environment,
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
