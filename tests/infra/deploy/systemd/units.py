"""Our systemd units as data: their settings in order, and their command lines as systemd would run them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.parts import ROOT

DIRECTORY = ROOT / "infra" / "deploy" / "systemd"
PROGRAM = "/opt/endpoint-analytics/bin/endpoint-analytics"
UNITS = tuple(sorted(path.stem for path in DIRECTORY.glob("*.service")))
INSTANCES = {"endpoint-analytics-worker@": "1"}
"""Instances of the template units; others are named `llm`."""


@dataclass(frozen=True)
class Unit:
    """A unit file: (section, key, value) of each line that sets something."""

    name: str
    settings: tuple[tuple[str, str, str], ...]

    def all(self, key: str) -> list[str]:
        return [value for _, name, value in self.settings if name == key]

    def one(self, key: str) -> str:
        (value,) = self.all(key)
        return value

    def environment(self, files: Mapping[str, dict[str, str]]) -> dict[str, str]:
        """Return the variables, with those of environment files (by path), which win."""
        found = {}
        for value in self.all("Environment"):
            found |= dict(word.split("=", 1) for word in shlex.split(value))
        for path in self.all("EnvironmentFile"):
            found |= files[path]
        return found


def read_unit(name: str, specifiers: Mapping[str, str], path: Path | None = None) -> Unit:
    """Return a unit, or a drop-in at `path`, with its specifiers (`i`, `H`, `d`, `S`, `t`) replaced."""
    section, found = "", []
    for line in (path or DIRECTORY / f"{name}.service").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.append((section, key, re.sub(r"%(\w)", lambda match: specifiers[match[1]], value)))
    return Unit(name, tuple(found))


def instance_of(name: str) -> str:
    return INSTANCES.get(name, "llm" if name.endswith("@") else "")


def command_of(unit: Unit, variables: Mapping[str, str]) -> list[str]:
    """Return the words of ExecStart: ${NAME} is one word, $NAME none or several (systemd.service(5), COMMAND LINES)."""
    found = []
    for word in shlex.split(unit.one("ExecStart")):
        if re.fullmatch(r"\$\w+", word):
            found += variables.get(word[1:], "").split()
        else:
            found.append(re.sub(r"\$\{(\w+)\}", lambda match: variables.get(match[1], ""), word))
    return found


def read_environment(path: Path, *, commented: bool = False) -> dict[str, str]:
    """Return the variables of an environment file, with those in its comments or without."""
    pattern = r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$" if commented else r"^([A-Z][A-Z0-9_]*)=(.*)$"
    return dict(re.findall(pattern, path.read_text(), re.MULTILINE))


def environment_files(*, commented: bool = False) -> dict[str, dict[str, str]]:
    """Return the variables of our examples by the path that the units read them from."""
    at = "/etc/endpoint-analytics"
    examples = {
        f"{at}/pipeline.env": "pipeline.env",
        f"{at}/agent.env": "agent.env",
        f"{at}/log-llm.env": "log-example.env",
        f"{at}/proxy-llm.env": "proxy-example.env",
    }
    return {path: read_environment(DIRECTORY / name, commented=commented) for path, name in examples.items()}
