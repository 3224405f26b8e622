"""The command `endpoint-analytics agent SUBCOMMAND`: finds the subcommand's module and runs it.

Only the table of subcommands belongs here. A subcommand's module provides `add_arguments(parser)` and
`run(arguments) -> int` (the exit status), and is imported only when that subcommand runs.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from endpoint_analytics.agents.command.installation import install_command
from endpoint_analytics.schemas.configuration.command_line import Parser

# name -> (module, one line for --help, the extra that installs its dependencies)
SUBCOMMANDS: dict[str, tuple[str, str, str]] = {
    "proxy": (
        "endpoint_analytics.agents.command.proxy_command",
        "run a recording reverse proxy in front of a server",
        "proxy",
    ),
    "log": ("endpoint_analytics.agents.command.log_command", "count requests from an access log", ""),
    "otlp": (
        "endpoint_analytics.agents.command.otlp_command",
        "receive OpenTelemetry's server spans by OTLP/HTTP",
        "otlp",
    ),
    "scrape": (
        "endpoint_analytics.agents.command.scrape_command",
        "collect a serving engine's own metrics",
        "",
    ),
    "kubernetes": (
        "endpoint_analytics.agents.command.kubernetes_command",
        "watch pods: states, reasons and replica limits",
        "kubernetes",
    ),
    "run": (
        "endpoint_analytics.agents.command.run_command",
        "start a server and report its states and hardware",
        "",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's name; everything after it belongs to the subcommand."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "subcommands:\n" + "\n".join(
        f"  {name:<12} {text}" for name, (_, text, _) in SUBCOMMANDS.items()
    )
    parser.add_argument(
        "subcommand", choices=SUBCOMMANDS, metavar="subcommand", help="one of the subcommands below"
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="arguments of the subcommand")


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand; returns its exit status (2 for a usage error, 1 when a package is missing)."""
    name = arguments.subcommand
    module_name, text, extra = SUBCOMMANDS[name]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("endpoint_analytics"):
            raise
        print(
            f"endpoint-analytics agent {name} needs the package {error.name!r}, which is not installed: "
            f"{install_command(extra)}",
            file=sys.stderr,
        )
        return 1
    parser = Parser(prog=f"endpoint-analytics agent {name}", description=text)
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(arguments.words))
    return status
