"""Sets up the databases before anything uses them: topics, tables, a token.

Each step is idempotent, runs at every start, and returns a short summary of what exists.
"""

from __future__ import annotations

import asyncio
import logging
import os

from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.infra.deploy.topics import ensure_topics
from endpoint_analytics.infra.deploy.topics_command import read_retention, topic_specs
from endpoint_analytics.infra.local.kafka.errors import KafkaError
from endpoint_analytics.infra.local.local_token import ensure_token
from endpoint_analytics.infra.local.plan import Installation
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig
from endpoint_analytics.schemas.configuration.settings import ConfigurationError
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX


class SetupError(Exception):
    """The databases cannot be set up; the message says why, and how to fix it."""


def make_topics(installation: Installation) -> str:
    """Ensure that the topics exist with the right settings."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # failures are raised
    try:
        specs = topic_specs(DEFAULT_PREFIX, None, 1, read_retention(os.environ))
        asyncio.run(ensure_topics(installation.kafka, specs, set_retention=True))
    except (ConfigurationError, KafkaError) as error:
        raise SetupError(str(error)) from error
    return f"{len(specs)}, {sum(spec.partitions for spec in specs)} partitions"


def make_tables(installation: Installation) -> str:
    """Run pending migrations."""
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)
    try:
        ran = migrate(_config(installation))
    except (StoreError, OSError) as error:
        raise SetupError(str(error)) from error
    return f"{len(ran)} migrations" if ran else "up to date"


def make_token(installation: Installation) -> str:
    """Ensure that the token's file holds an active token."""
    try:
        client = connect(_config(installation))
        try:
            made = ensure_token(client, installation.token)
        finally:
            client.close()
    except ClickHouseError as error:
        raise SetupError(f"cannot create a token: {error}") from error
    except (StoreError, OSError) as error:
        raise SetupError(str(error)) from error
    return "new" if made else "kept"


def _config(installation: Installation) -> ClickHouseConfig:
    password = installation.clickhouse_password.read_text(encoding="ascii").strip()
    return ClickHouseConfig(installation.clickhouse_url, password=password)
