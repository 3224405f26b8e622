"""`endpoint-analytics clickhouse`: a ClickHouse engine on this machine, behind ClickHouse's HTTP interface.

Arguments in, exit status out. Passwords come from the environment or from files, never from the command line,
which every user of the machine can read.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from endpoint_analytics.infra.local.clickhouse.accounts import Account, make_account
from endpoint_analytics.infra.local.clickhouse.passwords import (
    ANALYST,
    WRITER,
    ensure_password,
    forget_variable,
    password_file,
)
from endpoint_analytics.schemas.configuration.secret import read_secret
from endpoint_analytics.schemas.configuration.settings import number_option, parse_list, variable_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--data", type=Path, required=True, help="directory that holds the databases")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8123, help="port; 0 takes a free one (default %(default)s)"
    )
    parser.add_argument(
        "--user", default=WRITER, help="the name of the user who writes (default %(default)s)"
    )
    parser.add_argument(
        "--allowed-hosts",
        default="",
        metavar="NAME[,NAME...]",
        help="further names that clients may ask this server under (beside its address and localhost)",
    )
    parser.add_argument(
        "--stall-timeout",
        type=number_option(0.1, 3600),
        default=30.0,
        metavar="SECONDS",
        help="how long a client may send or take nothing in the middle of a request (default %(default)g)",
    )
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when standard input ends")
    parser.epilog = (
        f"The user's password is that of {variable_of('clickhouse_password')}, that of the read-only user "
        f"{ANALYST!r} that of {variable_of('clickhouse_analyst_password')}, or the first line of a file: the variable "
        "with _FILE after its name. A password that is not given is made at the first start and kept beside the data "
        "directory, in DATA.USER-password, which only you can read."
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Prints `clickhouse ready URL` once it answers."""
    from endpoint_analytics.infra.local.clickhouse.errors import DirectoryHeldError
    from endpoint_analytics.infra.local.clickhouse.start import Service, start

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    data = arguments.data.resolve()

    def ready(url: str) -> None:
        print(f"clickhouse ready {url}", flush=True)
        os.dup2(2, 1)  # nothing follows that line, whatever the engine may print

    try:
        service = Service(
            arguments.host,
            arguments.port,
            _accounts(data, arguments.user),
            frozenset(parse_list(arguments.allowed_hosts.lower())),
            arguments.stall_timeout,
        )
        start(data, service, ready, until_stdin_closes=arguments.until_stdin_closes)
    except (DirectoryHeldError, OSError, ValueError) as error:
        print(f"endpoint-analytics clickhouse: {error}", file=sys.stderr)
        return 1
    return 0


def _accounts(data: Path, writer: str) -> tuple[Account, Account]:
    """Both accounts, with the passwords that were given or else those kept beside the data directory."""
    if writer == ANALYST:
        raise ValueError(f"the user {ANALYST!r} is the one who only reads: give --user another name")
    data.parent.mkdir(parents=True, exist_ok=True)
    accounts = []
    for user, name in ((writer, "clickhouse_password"), (ANALYST, "clickhouse_analyst_password")):
        password = read_secret(os.environ, name) or ensure_password(password_file(data, user))
        forget_variable(variable_of(name))
        accounts.append(make_account(user, password, reads_only=user == ANALYST))
    return accounts[0], accounts[1]
