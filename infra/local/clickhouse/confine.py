"""Confines this process with the kernel: no outgoing connections, no programs, no files but its own.

Only Linux's Landlock and seccomp belong here (landlock(7), seccomp(2)). The ClickHouse engine can reach files and
machines in ways that its privileges do not cover, and each version adds more; the kernel needs no list of them. The
restriction is permanent and applies to threads started later, so it is set up before the engine starts. On a kernel
without these features only the privileges remain.
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

# machine -> its number in a filter; the system call seccomp; the refused calls socket, execve, execveat and
# io_uring_setup. The server's socket is already listening, and socket pairs, which lead nowhere else, use another call.
_MACHINES = {
    "x86_64": (0xC000003E, 317, (41, 59, 322, 425)),
    "aarch64": (0xC00000B7, 277, (198, 221, 281, 425)),
}

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ = 1 << 2 | 1 << 3  # files and directories
_READ_FILE, _WRITE_FILE = 1 << 2, 1 << 1
# The access rights that each version of Landlock controls, and so can refuse. EXECUTE is never allowed, nor is ioctl on
# devices. Version 1 (Linux 5.13 to 5.18) always forbids moving or linking files to another directory, so no table could
# be dropped or altered.
_CONTROLLED = {2: (1 << 14) - 1, 3: (1 << 15) - 1}
_EXECUTE = 1
_FILE_RIGHTS = _EXECUTE | _READ_FILE | _WRITE_FILE | 1 << 14

# What the engine reads about the machine; nothing in it concerns other processes or users. Without auxv the engine
# reads past the end of the environment, which is arbitrary memory once the environment has grown, and crashes.
_MACHINE_FILES = (
    "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/usr/share/zoneinfo", "/sys/fs/cgroup",
    "/sys/devices/system", "/etc/localtime", "/etc/timezone", "/dev/null", "/dev/urandom", "/proc/meminfo",
    "/proc/cpuinfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/diskstats", "/proc/self/stat",
    "/proc/self/statm", "/proc/self/status", "/proc/self/io", "/proc/self/maps", "/proc/self/limits",
    "/proc/self/cgroup", "/proc/self/mountinfo", "/proc/self/auxv",
)  # fmt: skip

# The counters of each thread that the engine reads for each query: without them it raises an error per thread, which
# takes 3 ms of the smallest query's 7 ms (measured). A rule cannot exclude the memory files next to them, so those are
# protected in another way first.
_THREAD_COUNTERS = "/proc/self/task"


def confine(directory: Path) -> list[str]:
    """Confine this process to `directory`; return what the kernel could not restrict, in words."""
    unrestricted = []
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform != "linux" or libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return ["files", "connections", "programs"]
    more = (_THREAD_COUNTERS,) if hide_memory() else ()
    libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # the engine reads its auxv when it starts
    if not _restrict_files(libc, directory, more):
        unrestricted.append("files")
    if not _restrict_calls(libc):
        unrestricted += ["connections", "programs"]
    return unrestricted


def _restrict_calls(libc: ctypes.CDLL) -> bool:
    machine = _MACHINES.get(platform.machine())
    if machine is None or sys.maxsize < 1 << 32:
        return False
    number, seccomp, refused = machine
    instructions = _filter(number, refused)
    program = ctypes.create_string_buffer(instructions, len(instructions))
    header = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(program))
    return bool(libc.syscall(seccomp, _FILTER_MODE, _ALL_THREADS, header) == 0)


def _filter(machine: int, refused: Iterable[int]) -> bytes:
    """Return a BPF program over (system call, machine, ...)."""
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    tests = [(equal, call) for call in refused] + [(at_least, _X32)]
    # Each line: code, jump if true, jump if false, value.
    lines = [(load, 0, 0, 4), (equal, 1, 0, machine), (answer, 0, 0, _REFUSE), (load, 0, 0, 0)]
    lines += [(code, len(tests) - index, 0, value) for index, (code, value) in enumerate(tests)]
    lines += [(answer, 0, 0, _ALLOW), (answer, 0, 0, _REFUSE)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def hide_memory() -> bool:
    """Make the kernel deny opening this process's memory and environment as files, even to the process itself.

    Returns False, and changes nothing, if the kernel does not do so, as for root.
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


def _restrict_files(libc: ctypes.CDLL, directory: Path, more: Iterable[str] = ()) -> bool:
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < min(_CONTROLLED):
        return False
    controlled = _CONTROLLED[min(version, max(_CONTROLLED))]
    ruleset = libc.syscall(_CREATE_RULESET, struct.pack("Q", controlled), 8, 0)
    if ruleset < 0:
        return False
    try:
        _allow(libc, ruleset, directory, controlled & ~_EXECUTE)
        for path in (*_MACHINE_FILES, *_python_directories(), *more):
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
        allowed = access if path.is_dir() else access & _FILE_RIGHTS
        libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", allowed, descriptor), 0)
    finally:
        if not path.is_relative_to("/proc"):
            os.close(descriptor)
        # A rule applies to an inode, and /proc may replace an inode under memory pressure: keep this one open.


def _python_directories() -> set[str]:
    """Return the directories of Python modules: the standard library, packages, ours; never a working directory."""
    found = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")}
    own = Path(__file__).resolve().parents[3]
    return (
        found
        | {str(own / name) for name in ("agents", "infra", "pipeline", "schemas")}
        | {f"{sys.base_prefix}/lib"}
    )
