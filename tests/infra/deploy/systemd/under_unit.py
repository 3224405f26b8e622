"""Runs a program with what a unit allows a process: system calls, address families, memory, open files.

    python under_unit.py UNIT PROGRAM ARGUMENT...

Only what a process can be forbidden from within is applied, since there is no systemd in the tests: not its user, file
system and namespaces. PYTHONPATH must have pyseccomp. Sets of system calls are those of this machine's systemd.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pyseccomp

PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 38, 65, 1


def settings(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def members(name: str) -> set[str]:
    """Return the system calls of a name, or of a set such as @system-service."""
    if not name.startswith("@"):
        return {name}
    printed = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
    )
    lines = [line.strip() for line in printed.stdout.splitlines()[1:]]
    return {each for line in lines if line and not line.startswith("#") for each in members(line)}


def allowed(unit: Path) -> set[str]:
    found: set[str] = set()
    for value in settings(unit, "SystemCallFilter"):
        names = {each for word in value.removeprefix("~").split() for each in members(word)}
        found = found - names if value.startswith("~") else found | names
    return found | members("@default")


def confine(unit: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    calls = allowed(unit)
    families = {int(getattr(socket, name)) for name in settings(unit, "RestrictAddressFamilies")[0].split()}
    for value in settings(unit, "LimitNOFILE"):
        limit = min(int(value), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.umask(int(settings(unit, "UMask")[0], 8))
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert settings(unit, "MemoryDenyWriteExecute") == ["yes"]
    if libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
        assert ctypes.get_errno() == errno.EINVAL  # Linux before 6.3
    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in sorted(calls - {"socket"}):
        try:
            number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
        except (ValueError, RuntimeError):
            continue  # of another architecture
        if number >= 0:
            rules.add_rule(pyseccomp.ALLOW, name)
    for family in families:
        rules.add_rule(pyseccomp.ALLOW, "socket", pyseccomp.Arg(0, pyseccomp.EQ, family))
    rules.load()


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
