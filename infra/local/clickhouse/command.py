"""`endpoint-analytics clickhouse`: a ClickHouse engine on this machine, behind ClickHouse's HTTP interface.

Only arguments and the exit status belong here. Passwords come from the environment or from files, never from the
command line, which every user of the machine can read.
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
from endpoint_analytics.schemas.configuration.config_file import our_environment
from endpoint_analytics.schemas.configuration.secret import read_secret
from endpoint_analytics.schemas.configuration.settings import number_option, parse_list, variable_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="directory of the databases")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8123,
        metavar="PORT",
        help="port to listen on, 0 for a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--user", default=WRITER, metavar="NAME", help="name of the user who writes (default: %(default)s)"
    )
    parser.add_argument(
        "--allowed-hosts",
        default="",
        metavar="NAME[,NAME...]",
        help="further host names under which clients may reach this server, besides its address and localhost",
    )
    parser.add_argument(
        "--stall-timeout",
        type=number_option(0.1, 3600),
        default=30.0,
        metavar="SECONDS",
        help="how long a client may neither send nor read in the middle of a request (default: %(default)g)",
    )
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="stop when standard input is closed"
    )
    parser.epilog = (
        f"The user's password is taken from {variable_of('clickhouse_password')}, and that of the read-only user "
        f"{ANALYST!r} from {variable_of('clickhouse_analyst_password')}, or from the first line of the file in the "
        "variable of the same name with _FILE appended. A password that is not given is generated at the first start "
        "and kept next to the data directory, in DATA.USER-password, which only you can read."
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; print `clickhouse ready URL` once the server answers."""
    from endpoint_analytics.infra.local.clickhouse.start import ServerSettings, start
    from endpoint_analytics.infra.local.system.data_directory import DirectoryInUseError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    data = arguments.data.resolve()

    def ready(url: str) -> None:
        print(f"clickhouse ready {url}", flush=True)
        os.dup2(2, 1)  # keep the engine's own output off stdout after this line

    try:
        service = ServerSettings(
            arguments.host,
            arguments.port,
            _accounts(data, arguments.user),
            frozenset(parse_list(arguments.allowed_hosts.lower())),
            arguments.stall_timeout,
        )
        start(data, service, ready, until_stdin_closes=arguments.until_stdin_closes)
    except (DirectoryInUseError, OSError, ValueError) as error:
        print(f"endpoint-analytics clickhouse: {error}", file=sys.stderr)
        return 1
    return 0


def _accounts(data: Path, writer: str) -> tuple[Account, Account]:
    """Return both accounts, with the given passwords, else those kept next to the data directory."""
    if writer == ANALYST:
        raise ValueError(f"the user {ANALYST!r} is the read-only user: choose another name for --user")
    data.parent.mkdir(parents=True, exist_ok=True)
    accounts = []
    for user, name in ((writer, "clickhouse_password"), (ANALYST, "clickhouse_analyst_password")):
        password = read_secret(our_environment(), name) or ensure_password(password_file(data, user))
        forget_variable(variable_of(name))
        accounts.append(make_account(user, password, reads_only=user == ANALYST))
    return accounts[0], accounts[1]
