"""This process shut in by the kernel: no connection to anywhere, no program started, no file but its own.

Only Linux's Landlock and seccomp belong here (landlock(7), seccomp(2)). The engine has ways to files and machines that
its privileges do not cover, and each version brings more; the kernel needs no list of them. It is for ever and for all
threads that begin later, so it is done before the engine starts. A kernel without these leaves the privileges.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_SET_DUMPABLE, _NO_NEW_PRIVILEGES = 4, 38
_FILTER_MODE, _ALL_THREADS = 1, 1
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13  # EACCES
_X32 = 0x40000000

# machine: its number in a filter; the call seccomp; the calls socket, execve, execveat, io_uring_setup, which are
# refused. The server listens already, and pairs of sockets, which lead nowhere else, are another call.
_MACHINES = {
    "x86_64": (0xC000003E, 317, (41, 59, 322, 425)),
    "aarch64": (0xC00000B7, 277, (198, 221, 281, 425)),
}

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ = 1 << 2 | 1 << 3  # files and directories
_READ_FILE, _WRITE_FILE = 1 << 2, 1 << 1
# What each version of Landlock can rule, and with it refuse; EXECUTE is allowed nowhere, devices' ioctl neither.
# The first (Linux 5.13 to 5.18) forbids moving or linking to another directory: no table could be dropped or altered.
_RULED = {2: (1 << 14) - 1, 3: (1 << 15) - 1}
_EXECUTE = 1
_ON_A_FILE = _EXECUTE | _READ_FILE | _WRITE_FILE | 1 << 14

# What the engine looks at to know the machine: nothing in it is about other processes or users. Without auxv it reads
# on behind the environment, which is anything once that has grown, and dies by a signal of the memory.
_OF_THE_MACHINE = (
    "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/usr/share/zoneinfo", "/sys/fs/cgroup",
    "/sys/devices/system", "/etc/localtime", "/etc/timezone", "/dev/null", "/dev/urandom", "/proc/meminfo",
    "/proc/cpuinfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/diskstats", "/proc/self/stat",
    "/proc/self/statm", "/proc/self/status", "/proc/self/io", "/proc/self/maps", "/proc/self/limits",
    "/proc/self/cgroup", "/proc/self/mountinfo", "/proc/self/auxv",
)  # fmt: skip

# What the engine counts of each thread, for each query: without it, it raises an error for each, 3 ms of 7 of the
# smallest query (measured). A rule cannot leave out the memory that lies beside it: that is shut in another way first.
_OF_THREADS = "/proc/self/task"


def confine(directory: Path) -> list[str]:
    """Shut this process into `directory`; returns what the kernel could not take away, in words."""
    left = []
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform != "linux" or libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return ["files", "connections", "programs"]
    more = (_OF_THREADS,) if shut_memory() else ()
    libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # the engine reads its auxv when it starts
    if not _shut_files(libc, directory, more):
        left.append("files")
    if not _shut_calls(libc):
        left += ["connections", "programs"]
    return left


def _shut_calls(libc: ctypes.CDLL) -> bool:
    machine = _MACHINES.get(platform.machine())
    if machine is None or sys.maxsize < 1 << 32:
        return False
    number, seccomp, refused = machine
    instructions = _filter(number, refused)
    program = ctypes.create_string_buffer(instructions, len(instructions))
    header = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(program))
    return bool(libc.syscall(seccomp, _FILTER_MODE, _ALL_THREADS, header) == 0)


def _filter(machine: int, refused: Iterable[int]) -> bytes:
    """A program of the kernel's packet filter over (call, machine, ...)."""
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    tests = [(equal, call) for call in refused] + [(at_least, _X32)]
    # Each line: code, jump when it holds, jump when not, value.
    lines = [(load, 0, 0, 4), (equal, 1, 0, machine), (answer, 0, 0, _REFUSE), (load, 0, 0, 0)]
    lines += [(code, len(tests) - index, 0, value) for index, (code, value) in enumerate(tests)]
    lines += [(answer, 0, 0, _ALLOW), (answer, 0, 0, _REFUSE)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def shut_memory() -> bool:
    """Have the kernel keep this process's memory and variables from who opens them as files, itself too.

    False where it does not, as for root: then nothing is changed.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    for name in ("mem", "environ"):
        try:
            os.close(os.open(f"/proc/thread-self/{name}", os.O_RDONLY))
        except PermissionError:
            continue
        except OSError:
            pass
        libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)
        return False
    return True


def _shut_files(libc: ctypes.CDLL, directory: Path, more: Iterable[str] = ()) -> bool:
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < min(_RULED):
        return False
    ruled = _RULED[min(version, max(_RULED))]
    ruleset = libc.syscall(_CREATE_RULESET, struct.pack("Q", ruled), 8, 0)
    if ruleset < 0:
        return False
    try:
        _allow(libc, ruleset, directory, ruled & ~_EXECUTE)
        for path in (*_OF_THE_MACHINE, *_of_python(), *more):
            _allow(libc, ruleset, Path(path), _READ)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        allowed = access if path.is_dir() else access & _ON_A_FILE
        libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", allowed, descriptor), 0)
    finally:
        if not path.is_relative_to("/proc"):
            os.close(descriptor)
        # A rule is of an inode, and /proc makes a new one after the kernel was short of memory: this one is held.


def _of_python() -> set[str]:
    """Where modules are imported from: the standard library, packages and ours; never a working directory."""
    found = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")}
    own = Path(__file__).resolve().parents[3]
    return (
        found
        | {str(own / name) for name in ("agents", "infra", "pipeline", "schemas")}
        | {f"{sys.base_prefix}/lib"}
    )
