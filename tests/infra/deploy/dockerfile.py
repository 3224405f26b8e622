"""The Dockerfile as data: its stages with their instructions, and which files its build sees."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tests.support.parts import ROOT

FILE = ROOT / "infra" / "deploy" / "Dockerfile"
IGNORE = FILE.with_name("Dockerfile.dockerignore")


@dataclass(frozen=True)
class Stage:
    """A stage: what it starts from, and (instruction, rest) of each of its lines."""

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        return [rest for instruction, rest in self.instructions if instruction == name]

    def run(self) -> str:
        """Return the command of its RUN, without the mounts."""
        (command,) = self.all("RUN")
        return re.sub(r"^(?:\s*--\S+)+", "", command).strip()


def stages() -> dict[str, Stage]:
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    for line in text.splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = rest.split()
            found[name] = Stage(name, base, ())
        elif found and instruction:
            last = found[next(reversed(found))]
            found[last.name] = Stage(last.name, last.base, (*last.instructions, (instruction, rest.strip())))
    return found


def line_of(name: str) -> list[Stage]:
    """Return a stage and those that it is made from, the target last."""
    known = stages()
    found = [known[name]]
    while found[0].base in known:
        found.insert(0, known[found[0].base])
    return found


def is_seen(path: str) -> bool:
    """Return whether the build sees a file: the last pattern that matches it or a directory of it decides."""
    parents = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    seen = True
    for line in IGNORE.read_text().splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        names = [pattern, pattern.removeprefix("**/")] if pattern.startswith("**/") else [pattern]
        deep = "/" not in pattern.removeprefix("**/")
        if any(
            fnmatch(each, name) and (pattern.startswith("**/") or not deep or "/" not in each)
            for each in parents
            for name in names
        ):
            seen = line.startswith("!")
    return seen


def copy_context(directory: Path) -> None:
    """Copy what the build sees of the tracked files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for path in filter(None, listed.stdout.split("\0")):
        if is_seen(path) and (ROOT / path).is_file():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, directory / path)


def labels(stage: Stage) -> dict[str, str]:
    return dict(word.split("=", 1) for text in stage.all("LABEL") for word in shlex.split(text))
