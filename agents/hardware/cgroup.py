"""The control groups of this process: a directory per controller, under cgroup version 2, version 1 or both.

A controller uses version 1 if it has its own hierarchy, else version 2; a hybrid system has both. Formats:
docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/, cgroups(7), proc_pid_mountinfo(5). If the process's path is
not visible (a container that sees its group as the mount's root), the mount is the group. `parse_x` is pure, `read_x`
does I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from endpoint_analytics.agents.hardware.system_files import SystemFiles

MEMBERSHIP = Path("/proc/self/cgroup")
MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """One controller's group: its own directory first, then its ancestors up to the highest visible one."""

    version: int
    directories: tuple[Path, ...]

    @property
    def own(self) -> Path:
        """The directory that the process is in."""
        return self.directories[0]


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The group of each resource; None if there is none, or if it is the whole machine.

    `cpu` and `cpuset` limit the CPUs, `cpu_time` and `pressure` report their use.
    """

    cpu: ControlGroup | None = None
    cpu_time: ControlGroup | None = None
    cpuset: ControlGroup | None = None
    memory: ControlGroup | None = None
    disk: ControlGroup | None = None
    pressure: ControlGroup | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted hierarchy: directory `root` of it is mounted at `at`; `controllers` is for version 1."""

    version: int
    root: str
    at: Path
    controllers: frozenset[str] = frozenset()


@dataclass(slots=True)
class OwnCgroup:
    """The groups of this process, looked up again when it is moved. `machine` is a root directory, for tests."""

    files: SystemFiles = field(default_factory=SystemFiles)
    machine: Path = Path("/")
    _membership: str | None = None
    _found: Cgroup = field(default_factory=Cgroup)

    def read(self) -> Cgroup:
        """Return the current groups; the same object while the process stays in them."""
        membership = self.files.text(self._at(MEMBERSHIP))
        if membership is not None and membership != self._membership:
            self._membership = membership
            mounts = parse_mounts(self.files.text(self._at(MOUNTS)) or "")
            below = [Mount(m.version, m.root, self._at(m.at), m.controllers) for m in mounts]
            self._found = find_groups(parse_membership(membership), below)
        return self._found

    def _at(self, path: Path) -> Path:
        return self.machine / path.relative_to("/")


def parse_membership(text: str) -> dict[str, str]:
    """Return controller -> path from /proc/<pid>/cgroup; the controller of version 2 is the empty string."""
    paths = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path.removesuffix(" (deleted)")
    return paths


def parse_mounts(text: str) -> list[Mount]:
    """Return the control group hierarchies in /proc/<pid>/mountinfo."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in {"cgroup", "cgroup2"}:
            continue
        root, at = _unescaped(fields[3]), Path(_unescaped(fields[4]))
        if kind[0] == "cgroup2":
            mounts.append(Mount(2, root, at))
        else:
            mounts.append(Mount(1, root, at, frozenset(kind[2].split(","))))
    return mounts


def find_groups(paths: Mapping[str, str], mounts: Sequence[Mount]) -> Cgroup:
    """Return the existing groups of a process that is in `paths` (by controller)."""

    def find(controller: str) -> ControlGroup | None:
        version = 1 if controller and controller in paths else 2
        path = paths.get(controller if version == 1 else "")
        fitting = [
            m for m in mounts if m.version == version and (version == 2 or controller in m.controllers)
        ]
        if path is None or not fitting:
            return None
        own = [
            (mount, directory) for mount in fitting if (directory := _own_directory(mount, path)) is not None
        ]
        mount, directory = own[0] if own else (fitting[0], fitting[0].at)
        return ControlGroup(version, tuple(_upwards(directory, mount.at)))

    def find_with(controller: str, *names: str) -> ControlGroup | None:
        """Return the group if it has one of the files and is not the whole machine."""
        group = find(controller)
        if group is None or is_whole_machine(group) or not any((group.own / name).exists() for name in names):
            return None
        return group

    return Cgroup(
        cpu=find("cpu"),
        cpu_time=find_with("cpuacct", "cpuacct.usage", "cpu.stat"),
        cpuset=find("cpuset"),
        memory=find_with("memory", "memory.usage_in_bytes", "memory.current"),
        disk=find_with("blkio", "io.stat"),
        pressure=find_with("", "cpu.pressure"),
    )


def is_whole_machine(group: ControlGroup) -> bool:
    """Whether it is the real root of its hierarchy: only these files show that, since a container's root is a group."""
    if group.version == 2:
        return not (group.own / "cgroup.type").exists()
    return (group.own / "release_agent").exists()


def parse_cpu_list(text: str) -> int:
    """Return how many CPUs a list such as `0-3,8` has; 0 if it is not such a list."""
    count = 0
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return 0
        count += int(last or first) - int(first) + 1
    return count


def _own_directory(mount: Mount, path: str) -> Path | None:
    root = mount.root.rstrip("/")
    if ".." in path or not f"{path}/".startswith(f"{root}/"):
        return None
    directory = mount.at / path[len(root) :].strip("/")
    return directory if directory.is_dir() else None


def _upwards(directory: Path, root: Path) -> Iterator[Path]:
    while directory != root:
        yield directory
        directory = directory.parent
    yield root


def _unescaped(text: str) -> str:
    """Decode mountinfo's octal escapes for space, tab, line feed and backslash."""
    for octal in ("\\040", "\\011", "\\012", "\\134"):
        text = text.replace(octal, chr(int(octal[1:], 8)))
    return text
