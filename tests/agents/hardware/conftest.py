"""Trees of control group files, as a kernel shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from endpoint_analytics.agents.hardware.cgroup import Cgroup, read_cgroup


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., None]:
    """Write files below the mount: `write("pod", **{"cpu.max": "max 100000"})`."""

    def write(folder: str, **files: str) -> None:
        path = tmp_path / "mount" / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (path / name).write_text(text + "\n")

    return write


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Cgroup | None]:
    """Read the group of a process whose /proc/self/cgroup is the text given."""

    def read(membership: str) -> Cgroup | None:
        (tmp_path / "mount").mkdir(exist_ok=True)
        file = tmp_path / "membership"
        file.write_text(membership)
        return read_cgroup(tmp_path / "mount", file)

    return read


@pytest.fixture
def version_2(write, read) -> Cgroup:
    """A container of 2 cores and 4 GiB in a pod of 1.5 GiB, on a machine that shows all groups."""
    write("", **{"cgroup.controllers": "cpuset cpu io memory"})
    write("pod", **{"cpu.max": "max 100000", "memory.max": "1610612736"})
    write(
        "pod/container",
        **{
            "cpu.max": "200000 100000",
            "cpu.stat": "usage_usec 5000000\nuser_usec 4000000\nsystem_usec 1000000",
            "cpuset.cpus.effective": "0-7",
            "memory.current": "1000000000",
            "memory.max": "4294967296",
            "memory.stat": "anon 700000000\nfile 300000000\ninactive_file 250000000",
            "io.stat": "8:0 rbytes=1000 wbytes=200 rios=1 wios=1 dbytes=0 dios=0\n"
            "8:16 rbytes=30 wbytes=4 rios=1 wios=1 dbytes=0 dios=0",
        },
    )
    return read("0::/pod/container\n")


@pytest.fixture
def version_1(write, read) -> Cgroup:
    """A container of half a core and 2 GiB, controllers mounted as Docker does."""
    write(
        "cpu,cpuacct/docker/abc",
        **{"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000", "cpuacct.usage": "7000000000"},
    )
    write("cpu,cpuacct", **{"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"})
    write("cpuset/docker/abc", **{"cpuset.effective_cpus": "0-1,4"})
    write(
        "memory/docker/abc",
        **{
            "memory.usage_in_bytes": "900000000",
            "memory.limit_in_bytes": "2147483648",
            "memory.stat": "inactive_file 1\ntotal_inactive_file 400000000",
        },
    )
    write("memory", **{"memory.limit_in_bytes": "9223372036854771712"})
    return read("11:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/docker/abc\n0::/docker/abc\n")
