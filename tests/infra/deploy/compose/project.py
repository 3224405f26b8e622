"""The compose file as YAML, and its variables with their defaults filled in: what the tests of this directory read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from tests.support.parts import ROOT

Json = dict[str, Any]

DIRECTORY = ROOT / "infra" / "deploy" / "compose"
FILE = DIRECTORY / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
OURS = ("topics", "migrate", "token", "worker", "query-service", "signals", "otlp")


def with_defaults(text: str) -> str:
    """Return the text as Compose reads it if no variable is set; $$ is a dollar sign."""
    return VARIABLE.sub(lambda match: match[2], text).replace("$$", "$")


PROJECT: Json = yaml.safe_load(with_defaults(FILE.read_text()))
SERVICES: dict[str, Json] = PROJECT["services"]


def environment_of(service: str) -> dict[str, str]:
    return {name: str(value) for name, value in SERVICES[service].get("environment", {}).items()}


def secret_files(directory: Path) -> dict[str, Path]:
    """Return the file of each secret, where `secrets.sh` wrote them into the directory."""
    return {name: directory / Path(each["file"]).name for name, each in PROJECT["secrets"].items()}
