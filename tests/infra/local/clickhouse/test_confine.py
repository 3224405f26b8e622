"""What the confinement must still allow the engine, also on older and busier kernels."""

import subprocess
import sys
from pathlib import Path

import pytest

from endpoint_analytics.infra.local.clickhouse import confine

REFER = 1 << 13
"""Moving and linking files to another directory: a ruleset that cannot allow it refuses it (landlock(7))."""
HELD = """
import os, sys
from pathlib import Path
from endpoint_analytics.infra.local.clickhouse.confine import confine
if "files" in confine(Path(sys.argv[1])):
    raise SystemExit("no Landlock")
def inode(status):
    return status.st_dev, status.st_ino
held = set()
for descriptor in range(3, 100):
    try:
        held.add(inode(os.fstat(descriptor)))
    except OSError:
        pass
for path in ("/proc/meminfo", "/proc/stat", "/proc/self/maps"):
    assert inode(os.stat(path)) in held, path
"""

GROWN = """
import ctypes, os, sys
from pathlib import Path
from endpoint_analytics.infra.local.clickhouse.confine import confine
os.environ["TMPDIR"] = sys.argv[1]
if "files" in confine(Path(sys.argv[1])):
    raise SystemExit("no Landlock")
environ = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ")
old = ctypes.cast(environ.value, ctypes.POINTER(ctypes.c_void_p))
count = next(index for index in range(1_000_000) if not old[index])
AT_SYSINFO_EHDR = 33
grown = (ctypes.c_void_p * (count + 5))(*old[:count], None, AT_SYSINFO_EHDR, 0x1234567, 0, 0)
environ.value = ctypes.addressof(grown)
import chdb
print(chdb.query("SELECT 40 + 2"))
"""
"""A grown environment is on the heap, followed by arbitrary memory: here, values that crash the engine."""


class _OldKernel:
    """Has Landlock version 1, like Linux 5.15; any other system call fails the test."""

    def syscall(self, number: int, *_arguments: object) -> int:
        assert number == 444, "nothing is ruled by it"
        return 1


LACKS = {
    "no Landlock": "this kernel has no Landlock that is used",
    "no seccomp": "this kernel has no seccomp",
}


def run_confined(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that confines itself to the directory; skip the test if the kernel cannot do that."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory)], capture_output=True, text=True, check=False
    )
    for said, reason in LACKS.items():
        if said in done.stderr:
            pytest.skip(reason)
    return done


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_a_landlock_under_which_no_table_can_be_dropped_is_not_used(tmp_path):
    assert not confine._restrict_files(_OldKernel(), tmp_path)
    assert all(controlled & REFER for controlled in confine._CONTROLLED.values())


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_what_is_allowed_of_proc_is_held_open(tmp_path: Path):
    done = run_confined(HELD, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_the_engine_starts_with_any_memory_behind_the_environment(tmp_path: Path):
    done = run_confined(GROWN, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "42"), done.stderr


USER = """
import os, sys, sysconfig
sysconfig.get_config_vars()
from pathlib import Path
from endpoint_analytics.infra.local.clickhouse.confine import confine, hide_memory
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
if "files" in confine(Path(sys.argv[1])):
    raise SystemExit("no Landlock")
assert Path("/proc/self/auxv").read_bytes()
assert hide_memory()
assert Path("/proc/thread-self/schedstat").read_text().split()
for shut in ("mem", "environ", "auxv"):
    try:
        open(f"/proc/thread-self/{shut}", "rb")
    except PermissionError:
        continue
    raise AssertionError(shut)
"""
"""A server run by a user other than root."""


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_counters_of_threads_are_open_and_memory_is_not(tmp_path: Path):
    tmp_path.chmod(0o777)
    done = run_confined(USER, tmp_path)
    assert done.returncode == 0, done.stderr


SOCKETS = """
import os, socket, subprocess, sys
from pathlib import Path
from endpoint_analytics.infra.local.clickhouse.confine import confine
if "connections" in confine(Path(sys.argv[1])):
    raise SystemExit("no seccomp")
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET, 38, 40):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        try:
            socket.socket(family, kind)
        except PermissionError:
            continue
        raise AssertionError((family, kind))
one, other = socket.socketpair()  # the event loop's own
one.send(b"x")
assert other.recv(1) == b"x"
try:
    os.execv("/bin/true", ["true"])
except PermissionError:
    print("shut")
"""
"""Includes AF_ALG and AF_VSOCK (38 and 40): one leads into the kernel, the other out of a virtual machine."""


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_no_socket_of_any_family_is_opened(tmp_path: Path):
    done = run_confined(SOCKETS, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "shut"), done.stderr
