"""`endpoint-analytics migrate`: the shell around `migrate`. Only flags and printing belong here."""

from __future__ import annotations

import argparse
import logging
import sys

from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.configuration.clickhouse_config import add_clickhouse_options, clickhouse_of
from endpoint_analytics.schemas.configuration.settings import ConfigurationError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    add_clickhouse_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run and print the missing migrations. Returns 1 if ClickHouse cannot be used."""
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)  # we report these failures ourselves
    try:
        config = clickhouse_of(arguments)
        ran = migrate(config)
    except (ConfigurationError, StoreError) as error:
        sys.stderr.write(f"endpoint-analytics migrate: {error}\n")
        return 1
    for migration in ran:
        sys.stdout.write(f"migrated {migration.number} {migration.name}\n")
    sys.stdout.write(f"database {config.database} is up to date\n")
    return 0
