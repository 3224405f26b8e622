"""What is made once in the databases before anything works on them: topics, tables, a token.

Each step may be done again at every start, and says in a few words what there is.
"""

from __future__ import annotations

import asyncio
import logging

from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.infra.deploy.topics import ensure_topics
from endpoint_analytics.infra.deploy.topics_command import topic_specs
from endpoint_analytics.infra.local.kafka.errors import KafkaError
from endpoint_analytics.infra.local.local_token import ensure_token
from endpoint_analytics.infra.local.plan import Installation
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX


class SetupError(Exception):
    """The databases cannot be set up; the text says what and how to mend it."""


def make_topics(place: Installation) -> str:
    """See that the topics are there as they should be."""
    specs = topic_specs(DEFAULT_PREFIX, None, 1)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what goes wrong is raised
    try:
        asyncio.run(ensure_topics(place.kafka, specs))
    except KafkaError as error:
        raise SetupError(str(error)) from error
    return f"{len(specs)}, {sum(spec.partitions for spec in specs)} partitions"


def make_tables(place: Installation) -> str:
    """Run the migrations that are missing."""
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)
    try:
        ran = migrate(_config(place))
    except (StoreError, OSError) as error:
        raise SetupError(str(error)) from error
    return f"{len(ran)} migrations" if ran else "up to date"


def make_token(place: Installation) -> str:
    """See that the token's file holds one in force."""
    try:
        client = connect(_config(place))
        try:
            made = ensure_token(client, place.token)
        finally:
            client.close()
    except ClickHouseError as error:
        raise SetupError(f"cannot make a token: {error}") from error
    except (StoreError, OSError) as error:
        raise SetupError(str(error)) from error
    return "new" if made else "kept"


def _config(place: Installation) -> ClickHouseConfig:
    password = place.clickhouse_password.read_text(encoding="ascii").strip()
    return ClickHouseConfig(place.clickhouse_url, password=password)
