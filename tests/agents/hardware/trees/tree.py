"""Trees of control group files as real kernels show them, one text file each, as record.sh prints them.

A line `== /path` begins a file; lines before the first, after `#`, say what the tree stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from endpoint_analytics.agents.hardware.cgroup import OwnCgroup

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.tree"))


@dataclass
class Tree:
    """A machine's files below `root`, and what a process on it finds as its groups."""

    root: Path
    own: OwnCgroup

    def path(self, name: str) -> Path:
        return self.root / name.strip("/")

    def write(self, name: str, text: str) -> None:
        self.path(name).write_text(text + "\n")

    def edit(self, path: Path, before: str, after: str) -> None:
        text = path.read_text()
        assert text.count(before) == 1, f"{before!r} is not once in {path}"
        path.write_text(text.replace(before, after))


def parse_tree(text: str) -> dict[str, str]:
    files: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("== "):
            lines = files.setdefault(line[3:].strip(), [])
        else:
            lines.append(line)
    return {name: "".join(lines) for name, lines in files.items()}


def plant(name: str, root: Path) -> Tree:
    """Write the files of the tree below `root`."""
    for path, text in parse_tree((HERE / f"{name}.tree").read_text()).items():
        file = root / path.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Tree(root, OwnCgroup(machine=root))
