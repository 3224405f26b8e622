"""A small shared library that stands in for ROCm's libamd_smi.so, and a process that uses it.

The module `amdsmi` opens `lib/libamd_smi.so` below ROCM_PATH, and looks for every function that it knows when it is
imported. Those that stand_in.c has not are made here, from the names in the module's own text.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from tests.agents.hardware.stand_in import Driver, compile_library

HERE = Path(__file__).parent


def build(directory: Path) -> Path:
    """Return the directory that stands in for /opt/rocm; skips the test without a C compiler or without the module."""
    found = importlib.util.find_spec("amdsmi")
    if found is None or found.origin is None:
        pytest.skip("the package amdsmi is not installed")
    wrapper = (Path(found.origin).parent / "amdsmi_wrapper.py").read_text()
    wanted = set(re.findall(r"_libraries\['libamd_smi\.so'\]\.(\w+)", wrapper))
    ours = set(re.findall(r"^int (\w+)\(", (HERE / "stand_in.c").read_text(), re.MULTILINE))
    assert ours <= wanted, f"the module has no {ours - wanted}"
    rest = directory / "rest.c"
    rest.write_text("".join(f"int {name}(void) {{ return 2; }}\n" for name in sorted(wanted - ours)))
    (directory / "lib").mkdir()
    compile_library(directory / "lib/libamd_smi.so", HERE / "stand_in.c", rest)
    return directory


def start(rocm: Path, directory: Path, script: str, **environment: str) -> Driver:
    """Start a process on a machine with ROCm; device nodes are files below `directory`/dev."""
    where = {"ROCM_PATH": str(rocm), "AMDSMI_SCRIPT": str(directory / "script")}
    return Driver(directory, script, ["amd", str(directory / "dev")], **where | environment)
