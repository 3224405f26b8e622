"""The rooms (packages) of the sources and their imports, read from the code: `make map` draws docs/architecture.md.

A room is a directory of modules. Rooms that import each other in a cycle share a floor; otherwise a room is one
floor above the highest room that it imports.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "endpoint_analytics"
DIRECTORIES = ("schemas", "agents", "pipeline", "infra")
PAGE = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- map: made by `make map` -->", "<!-- end of the map -->"

Arrows = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Rooms:
    """The rooms by name (`agents/log`), and which rooms each imports."""

    rules: Mapping[str, str]
    """The description of each room: the first line of its `__init__.py`."""
    imports: Arrows

    @cached_property
    def _reached(self) -> dict[str, set[str]]:
        return {room: _reached(room, self.imports) for room in self.rules}

    def _circle(self, room: str) -> set[str]:
        """Return the rooms in an import cycle with this one, including itself."""
        return {other for other in self._reached[room] if room in self._reached[other]} | {room}

    @cached_property
    def floors(self) -> dict[str, int]:
        """The floor of each room; rooms without imports of other rooms are on floor 0."""
        floors: dict[str, int] = {}

        def floor(room: str) -> int:
            if room not in floors:
                circle = self._circle(room)
                below = {other for one in circle for other in self.imports[one]} - circle
                floors.update(dict.fromkeys(circle, 1 + max(map(floor, below), default=-1)))
            return floors[room]

        for room in self.rules:
            floor(room)
        return floors

    @property
    def climbing(self) -> list[tuple[str, str]]:
        """The imports of rooms that are not on a lower floor, which means cycles."""
        pairs = [(room, other) for room, others in self.imports.items() for other in others]
        return sorted(pair for pair in pairs if self.floors[pair[1]] >= self.floors[pair[0]])

    @property
    def direct(self) -> list[tuple[str, str]]:
        """The imports that are not implied by others through a third room: those to draw."""
        found = []
        for room, others in self.imports.items():
            for other in others:
                between = self._reached[room] - self._circle(room) - self._circle(other)
                if other in self._circle(room) or not any(other in self._reached[one] for one in between):
                    found.append((room, other))
        return sorted(found)


def _reached(room: str, imports: Arrows) -> set[str]:
    found: set[str] = set()
    waiting = list(imports[room])
    while waiting:
        if (other := waiting.pop()) not in found:
            found.add(other)
            waiting += imports[other]
    return found


def read_rooms() -> Rooms:
    """Read the rooms from the sources."""
    modules = [
        path.relative_to(ROOT)
        for directory in DIRECTORIES
        for path in sorted((ROOT / directory).rglob("*.py"))
    ]
    room_of = {module_name(path): path.parent.as_posix() for path in modules}
    rules: dict[str, str] = {}
    imports: dict[str, frozenset[str]] = {}
    for path in modules:
        room = path.parent.as_posix()
        if path.name == "__init__.py":
            rules[room] = (ast.get_docstring(ast.parse((ROOT / path).read_text())) or "").partition("\n")[0]
        found = {room_of[name] for name in imports_of(path) & room_of.keys()}
        imports[room] = imports.get(room, frozenset()) | (found - {room})
    return Rooms(rules, imports)


def module_name(path: Path) -> str:
    """Return the import name of a source file."""
    parts = path.with_suffix("").parts
    return ".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports_of(path: Path) -> set[str]:
    """Return the modules that a source file imports anywhere, with relative imports made absolute."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_name(path).split(".")
                package = package if path.name == "__init__.py" else package[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
            found |= {base} | {
                f"{base}.{alias.name}" for alias in node.names if base.split(".")[0] == PACKAGE
            }
    return found


def drawn(rooms: Rooms) -> str:
    """Return the map as Markdown: a drawing of the direct imports, and a table of the rooms, highest floor first."""
    lines = [BEGIN, "", "```mermaid", "flowchart TB"]
    for directory in reversed(DIRECTORIES):
        lines.append(f"  subgraph {directory}")
        inside = [room for room in rooms.rules if room.split("/")[0] == directory]
        lines += [f"    {_id(room)}[{room}]" for room in sorted(inside)]
        lines.append("  end")
    lines += [f"  {_id(room)} --> {_id(other)}" for room, other in rooms.direct]
    lines += ["```", "", "| floor | room | what it is |", "|---|---|---|"]
    for room in sorted(rooms.rules, key=lambda room: (-rooms.floors[room], room)):
        lines.append(f"| {rooms.floors[room]} | [{room}](../{room}) | {rooms.rules[room]} |")
    return "\n".join([*lines, "", END])


def _id(room: str) -> str:
    return room.replace("/", "_")


def with_map(page: str, rooms: Rooms) -> str:
    """Return the page with its map replaced."""
    before, _, rest = page.partition(BEGIN)
    return before + drawn(rooms) + rest.partition(END)[2]


def main() -> None:
    """Redraw the map, and print a summary."""
    rooms = read_rooms()
    PAGE.write_text(with_map(PAGE.read_text(), rooms))
    arrows = sum(map(len, rooms.imports.values()))
    print(
        f"{len(rooms.rules)} rooms on {1 + max(rooms.floors.values())} floors, {arrows} imports between them, "
        f"{len(rooms.climbing)} of them in cycles"
    )
    for room, other in rooms.climbing:
        print(f"  {room} and {other}")


if __name__ == "__main__":
    main()
