"""The argument parser of every command: options cannot be abbreviated, and errors never repeat a possible secret.

Every user of a machine can read command lines, and logs keep errors, so passwords belong in files or environment
variables. Errors show an option's invalid value, because that helps, but not stray words after options.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile
from typing import Any, NoReturn

from endpoint_analytics.schemas.configuration.settings import PREFIX

_NAME = re.compile(r"--[A-Za-z][A-Za-z-]*|-.?")


class Parser(argparse.ArgumentParser):
    """argparse's parser, without abbreviations (`--kafka-pass=SECRET`), and without unknown words in its errors."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **named})

    def parse_args(  # type: ignore[override]  # argparse has an overload for each namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Return the arguments, or end the process with a usage error or the requested help."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown, sys.argv[1:] if args is None else args)
        return found

    def _refuse(self, unknown: Iterable[str], args: Sequence[str]) -> NoReturn:
        harmless = set(takewhile(lambda word: not word.startswith("-"), args))
        self.error(f"unrecognized arguments: {' '.join(_shown(unknown, harmless))}")


def refuse_secrets(group: argparse._ActionsContainer, *options: str) -> None:
    """Refuse these options, each of which has an alternative with `-file` and an environment variable."""
    for option in options:
        group.add_argument(option, action=_Refused, nargs="?", help=argparse.SUPPRESS)


class _Refused(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: object, _values: object, _option: str | None = None
    ) -> None:
        """End with a usage error that does not repeat the password."""
        option = self.option_strings[0]
        variable = option.removeprefix("--").replace("-", "_").upper()
        parser.error(
            f"{option}: every user of this machine can read command lines; use {option}-file or "
            f"{PREFIX}{variable}"
        )


def _shown(words: Iterable[str], harmless: Collection[str]) -> Iterable[str]:
    """Yield option names without their values, and other words only if they are harmless."""
    for word in words:
        name = _NAME.match(word)
        if name is not None:
            yield name[0] if name[0] == word else f"{name[0]}..."
        else:
            yield word if word in harmless else "..."
