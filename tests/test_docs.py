"""What the documents show works as far as a parser can tell: commands, Python, links within the repository."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest
from tests.support.parts import ROOT

from endpoint_analytics.agents.command.agent_command import SUBCOMMANDS
from endpoint_analytics.infra.command import COMMANDS

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "infra").rglob("*.md")])
SHELL = re.compile(r"```(?:bash|shell|sh|console)\n(.*?)```|((?:^ {4,}\S.*\n)+)", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s:#]+)(?:#([\w-]+))?\)|\[[^\]]*\]\(#([\w-]+)\)")
COMMAND = re.compile(r"\s*(?:[A-Z_]+=\S+ )*endpoint-analytics ")
ENDS = {"&", "&&", ";", "|"}


def commands(page: Path) -> list[list[str]]:
    """Return the words of each of our commands that a page shows, without variables before them."""
    found = []
    for block in SHELL.finditer(page.read_text()):
        text = (block[1] or block[2]).replace("\\\n", " ")
        for line in text.splitlines():
            match = COMMAND.match(line)
            if match is None:
                continue
            words = shlex.split(line[match.end() :], comments=True)
            end = next((at for at, word in enumerate(words) if word in ENDS), len(words))
            if not any(word.startswith("[") for word in words):  # a synopsis
                found.append(words[:end])
    return found


SHOWN = [(page, words) for page in PAGES for words in commands(page)]


def parser_of(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    if words[0] == "agent":
        module, rest = importlib.import_module(SUBCOMMANDS[words[1]][0]), words[2:]
    else:
        module, rest = importlib.import_module(COMMANDS[words[0]][0]), words[1:]
    parser = argparse.ArgumentParser(allow_abbrev=False)
    module.add_arguments(parser)
    return parser, rest


def name_of(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else " ".join(value)[:60]


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=name_of)
def test_a_command_is_taken(page, words):
    parser, rest = parser_of(words)
    arguments = parser.parse_args(rest)
    if words[:2] == ["agent", "run"]:
        assert arguments.server[:1] == ["--"]
        assert len(arguments.server) > 1


def test_commands_are_found():
    pages = {page.name for page, words in SHOWN if words[0] == "agent"}
    guides = {page.name for page in (ROOT / "docs/instrument").glob("*.md")}
    assert guides - pages == {"python-asgi.md", "python-wsgi.md"}  # their agent is a thread in the server


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_is_python(page):
    for match in PYTHON.finditer(page.read_text()):
        lines = match[1].splitlines()
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        compile("\n".join(line[indent:] for line in lines), str(page), "exec")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    broken = []
    for match in LINK.finditer(page.read_text()):
        target = page if match[3] else page.parent / match[1]
        anchor = match[2] or match[3]
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(match[0])
    assert broken == []
