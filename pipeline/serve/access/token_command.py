"""`endpoint-analytics token`: create, list and revoke access tokens. Only flags and printing belong here.

`create` prints only the token to stdout, so that a script can capture it; everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import logging
import sys
from datetime import UTC, datetime

from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.errors import StoreError, store_error
from endpoint_analytics.pipeline.store.tokens import AccessToken, create_token, list_tokens, revoke_token
from endpoint_analytics.schemas.configuration.clickhouse_config import (
    ClickHouseConfig,
    ClickHouseConfigError,
    add_clickhouse_options,
    clickhouse_of,
)
from endpoint_analytics.schemas.errors import InvalidMessageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their flags."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke")
    create = actions.add_parser("create", help="create a token and print it; it is shown only once")
    create.add_argument("--namespace", required=True, help="namespace it grants access to, or '*' for all")
    create.add_argument("--label", default="", help="free text that says what it is for")
    listing = actions.add_parser("list", help="list all tokens; their secrets are not stored")
    revoke = actions.add_parser("revoke", help="revoke a token; takes effect within 5 s")
    revoke.add_argument("token_id", metavar="TOKEN_ID", help="the part between the underscores of eat_..._")
    for action in (create, listing, revoke):
        add_clickhouse_options(action)


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand. Returns 1, with the reason on stderr, if it fails."""
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)  # we report these failures ourselves
    try:
        config = clickhouse_of(arguments)
        client = connect(config)
        try:
            _act(client, arguments, config)
        finally:
            client.close()
    except (ClickHouseConfigError, StoreError, InvalidMessageError) as error:
        sys.stderr.write(f"endpoint-analytics token: {error}\n")
        return 1
    return 0


def _act(client: Client, arguments: argparse.Namespace, config: ClickHouseConfig) -> None:
    try:
        if arguments.action == "create":
            token = create_token(client, arguments.namespace, arguments.label, datetime.now(UTC))
            sys.stderr.write("save this token: it is shown only once\n")
            sys.stdout.write(f"{token}\n")
        elif arguments.action == "list":
            sys.stdout.write(_table(list_tokens(client)))
        elif revoke_token(client, arguments.token_id):
            sys.stderr.write(f"token {arguments.token_id} is revoked\n")
        else:
            sys.stderr.write(f"token {arguments.token_id} was already revoked\n")
    except ClickHouseError as error:
        raise store_error(error, config.url, config.database) from error


def _table(tokens: tuple[AccessToken, ...]) -> str:
    rows = [("TOKEN_ID", "NAMESPACE", "CREATED", "STATE", "LABEL")]
    rows += [
        (
            token.token_id,
            token.namespace,
            token.created_at.strftime("%Y-%m-%d %H:%M:%S"),
            "revoked" if token.revoked else "active",
            token.label,
        )
        for token in tokens
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)) for row in rows
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)
