"""`endpoint-analytics clickhouse`: a ClickHouse engine on this machine, behind ClickHouse's HTTP interface.

Arguments in, exit status out. The password comes from the environment, never from the command line,
which every user of the machine can read.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

PASSWORD_VARIABLE = "ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD"  # noqa: S105


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the databases")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8123, help="port; 0 takes a free one (default %(default)s)"
    )
    parser.add_argument("--user", default="default", help="the user's name (default %(default)s)")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when standard input ends")
    parser.epilog = (
        f"The user's password is taken from {PASSWORD_VARIABLE}; beyond loopback there must be one."
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Prints `clickhouse ready URL` once it answers."""
    from endpoint_analytics.infra.clickhouse.errors import FolderHeldError
    from endpoint_analytics.infra.clickhouse.server import Address, UnsafeBindError, serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    password = os.environ.pop(PASSWORD_VARIABLE, "")
    address = Address(arguments.host, arguments.port, arguments.user, password)

    def ready(url: str) -> None:
        print(f"clickhouse ready {url}", flush=True)
        os.dup2(2, 1)  # nothing follows that line, whatever the engine may print

    try:
        serve(arguments.data.resolve(), address, ready, until_stdin_closes=arguments.until_stdin_closes)
    except (FolderHeldError, UnsafeBindError, OSError, ValueError) as error:
        print(f"endpoint-analytics clickhouse: {error}", file=sys.stderr)
        return 1
    return 0
