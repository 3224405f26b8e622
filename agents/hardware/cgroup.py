"""The control group that this process runs in: its folders, under version 2 or version 1.

Formats: docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/. `parse_x` is pure, `read_x` does I/O.
Where the process's own path is not visible (a container without a cgroup namespace), the mount's root is
the container's group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The group's folders, from its own up to the highest visible one; empty where there are none.

    Under version 2 the three are the same.
    """

    version: int
    cpu: tuple[Path, ...] = ()
    cpuset: tuple[Path, ...] = ()
    memory: tuple[Path, ...] = ()


def parse_membership(text: str) -> dict[str, str]:
    """Return controller -> path from /proc/<pid>/cgroup; the controller of version 2 is the empty string."""
    paths = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def read_cgroup(mount: Path = MOUNT, membership: Path = MEMBERSHIP) -> Cgroup | None:
    """Return the group of this process, or None when the system has none that can be read."""
    try:
        paths = parse_membership(membership.read_text())
    except OSError:
        return None
    if (mount / "cgroup.controllers").exists():
        folders = _visible(mount, paths.get("", "/"))
        return Cgroup(2, cpu=folders, cpuset=folders, memory=folders)
    cpu = _version_1(mount, paths, "cpu", "cpuacct")
    cpuset = _version_1(mount, paths, "cpuset")
    memory = _version_1(mount, paths, "memory")
    return Cgroup(1, cpu=cpu, cpuset=cpuset, memory=memory) if cpu or memory else None


def read_text(folder: Path, name: str) -> str | None:
    """Return the text of one of the group's files, or None when it has no such file."""
    try:
        return (folder / name).read_text().strip()
    except OSError:
        return None


def read_number(folder: Path, name: str) -> int | None:
    """Return the number in one of the group's files; None when there is no file or no number."""
    text = read_text(folder, name)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def parse_table(text: str) -> dict[str, int]:
    """Return the `name number` lines of cpu.stat or memory.stat."""
    fields = (line.split() for line in text.splitlines())
    return {field[0]: int(field[1]) for field in fields if len(field) == 2 and field[1].isdigit()}


def parse_cpu_list(text: str) -> int:
    """Return how many processors a list such as `0-3,8` names."""
    count = 0
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def _version_1(mount: Path, paths: dict[str, str], *controllers: str) -> tuple[Path, ...]:
    for controller in controllers:
        for name in (",".join(controllers), ",".join(reversed(controllers)), controller):
            if controller in paths and (mount / name).is_dir():
                return _visible(mount / name, paths[controller])
    return ()


def _visible(root: Path, path: str) -> tuple[Path, ...]:
    own = root / path.strip("/")
    return tuple(_upwards(own if own.is_dir() and ".." not in path else root, root))


def _upwards(folder: Path, root: Path) -> Iterator[Path]:
    while folder != root:
        yield folder
        folder = folder.parent
    yield root
