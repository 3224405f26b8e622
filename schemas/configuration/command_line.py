"""The parser of every command's arguments: no option has a short form, and no error repeats what may be a secret.

Every user of a machine can read command lines, and logs keep errors: a password belongs in a file or a variable. What
an option takes and cannot use is named, as that helps; a word behind options that belongs to none is not.
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
    """argparse's, which would take `--kafka-pass=SECRET` for an option that begins so, and repeat unknown words."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **named})

    def parse_args(  # type: ignore[override]  # argparse has an overload for each namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Return the arguments; ends the process with a usage error, or with the help that was asked for."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown, sys.argv[1:] if args is None else args)
        return found

    def _refuse(self, unknown: Iterable[str], args: Sequence[str]) -> NoReturn:
        harmless = set(takewhile(lambda word: not word.startswith("-"), args))
        self.error(f"unrecognized arguments: {' '.join(_shown(unknown, harmless))}")


def refuse_secrets(group: argparse._ActionsContainer, *options: str) -> None:
    """Have these options refused, each of which has one with `-file`, and a variable."""
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
            f"{option}: every user of this machine can read a command line; use {option}-file or "
            f"{PREFIX}{variable}"
        )


def _shown(words: Iterable[str], harmless: Collection[str]) -> Iterable[str]:
    """Names of options without their values; other words only where they are harmless."""
    for word in words:
        name = _NAME.match(word)
        if name is not None:
            yield name[0] if name[0] == word else f"{name[0]}..."
        else:
            yield word if word in harmless else "..."
