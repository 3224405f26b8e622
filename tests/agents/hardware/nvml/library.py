"""A small shared library that stands in for the NVIDIA driver's, and a process that uses it.

pynvml opens `libnvidia-ml.so.1` by name, so that the dynamic loader finds ours first where LD_LIBRARY_PATH says.
"""

from __future__ import annotations

from pathlib import Path

from tests.agents.hardware.stand_in import Driver, compile_library

HERE = Path(__file__).parent


def build(directory: Path) -> Path:
    """Return the directory with the library; skips the test where there is no C compiler."""
    compile_library(directory / "libnvidia-ml.so.1", HERE / "stand_in.c")
    return directory


def start(library: Path, directory: Path, script: str, *own: int, **environment: str) -> Driver:
    """Start a process that sees the library; `own` are the replica's processes."""
    where = {"LD_LIBRARY_PATH": str(library), "NVML_SCRIPT": str(directory / "script")}
    return Driver(directory, script, ["nvidia", *map(str, own)], **where | environment)
