"""The subcommand `set`, shared by the commands that report one fact: the subcommand itself and its time argument."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from endpoint_analytics.schemas.configuration.command_line import Parser
from endpoint_analytics.schemas.configuration.settings import time_option


def add_set(parser: argparse.ArgumentParser, text: str) -> argparse.ArgumentParser:
    """Add the subcommand `set` and return its parser; `text` describes it in the help."""
    actions = parser.add_subparsers(
        action=_Subcommand, dest="action", required=True, metavar="set", parser_class=Parser
    )
    setting: argparse.ArgumentParser = actions.add_parser("set", help=text, description=text)
    return setting


def parse_time_us(text: str) -> int:
    """Return an ISO 8601 time in microseconds since 1970; a time without an offset is UTC."""
    since = time_option(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class _Subcommand(argparse._SubParsersAction):  # type: ignore[type-arg]  # noqa: SLF001  # not public in argparse
    """argparse's action, but its error does not repeat a wrong word: the word may be an unknown option's secret."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.choices = None  # type: ignore[assignment]  # argparse would repeat the word in its own check

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if not values or values[0] not in self._name_parser_map:
            raise argparse.ArgumentError(self, "expected the word set, followed by its options")
        super().__call__(parser, namespace, values, option_string)
