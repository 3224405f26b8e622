"""`endpoint-analytics partitions`: lists the partitions that the worker paused, resumes one, or lets workers read again
what a restored database lacks.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from datetime import UTC, datetime

import orjson
from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.errors import StoreError, store_error
from endpoint_analytics.pipeline.store.paused_partitions import FOREVER, PausedPartition, read_paused_now
from endpoint_analytics.pipeline.store.progress import PROGRESS, parse_progress
from endpoint_analytics.pipeline.stream.config import add_group_option, group_of
from endpoint_analytics.pipeline.stream.rewind import RewindError, Rewound, complete_to, rewind
from endpoint_analytics.schemas.configuration.clickhouse_config import (
    ClickHouseConfig,
    add_clickhouse_options,
    clickhouse_of,
)
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import ConfigurationError, time_option
from endpoint_analytics.schemas.topics import TOPICS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|resume|rewind")
    add_clickhouse_options(actions.add_parser("list", help="list the paused partitions and the reasons"))
    resume = actions.add_parser("resume", help="resume reading a partition, rejecting unusable messages")
    resume.add_argument("stream", choices=[topic.suffix for topic in TOPICS], help="requests, hardware ...")
    resume.add_argument("partition", type=int, help="the partition's number")
    add_clickhouse_options(resume)
    again = actions.add_parser(
        "rewind", help="after a restore of the database, while no worker runs: read again what it lacks"
    )
    again.add_argument(
        "--to",
        type=time_option,
        metavar="TIME",
        help="read again what the broker appended since then, such as 2026-01-31T00:00Z (default: for each partition, "
        "since an hour before the newest of what the database has)",
    )
    add_group_option(again)
    add_kafka_options(again)
    add_clickhouse_options(again)


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand. Returns 1, with the reason on stderr, if it fails."""
    try:
        config = clickhouse_of(arguments)
        report = _rewind(arguments, config) if arguments.action == "rewind" else _act(arguments, config)
    except (ConfigurationError, StoreError, RewindError) as error:
        print(f"endpoint-analytics partitions: {error}", file=sys.stderr)
        return 1
    print(report)
    return 0


def _act(arguments: argparse.Namespace, config: ClickHouseConfig) -> str:
    client = connect(config)
    try:
        paused = {key: state for key, state in read_paused_now(client).items() if state.paused}
        if arguments.action == "list":
            return "\n".join(map(_line, paused.values())) or "no partition is paused"
        key = (arguments.stream, arguments.partition)
        if key not in paused:
            known = ", ".join(f"{stream} {partition}" for stream, partition in paused) or "none"
            raise StoreError(f"{key[0]} {key[1]} is not paused; paused partitions: {known}")
        row = paused[key].resumed(FOREVER).row("operator")
        client.raw_insert(row.table, insert_block=orjson.dumps(row.values), fmt="JSONEachRow")
    except ClickHouseError as error:
        raise store_error(error, config.url, config.database) from error
    finally:
        client.close()
    return f"{key[0]}/{key[1]} resumes within seconds; unusable messages go to the table rejected"


def _rewind(arguments: argparse.Namespace, config: ClickHouseConfig) -> str:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # failures are raised
    kafka, group = kafka_of(arguments), group_of(arguments)
    if arguments.to is not None:
        found = asyncio.run(rewind(kafka, group, {}, arguments.to))
    else:
        client = connect(config)
        try:
            progress = parse_progress(client.query(PROGRESS).result_rows)
        except ClickHouseError as error:
            raise store_error(error, config.url, config.database) from error
        finally:
            client.close()
        found = asyncio.run(rewind(kafka, group, complete_to(progress)))
    return (
        "\n".join(map(_rewound_line, found)) or f"the group {group} is nowhere further: nothing is read again"
    )


def _rewound_line(rewound: Rewound) -> str:
    line = (
        f"{rewound.topic}/{rewound.partition}: from {rewound.offset} on again, instead of {rewound.committed}"
    )
    if rewound.begins_at is None:
        return line
    begins = rewound.begins_at.isoformat(timespec="seconds")
    return f"{line}; Kafka has nothing older than {begins}: what was appended before, and the database lacks, is lost"


def _line(state: PausedPartition) -> str:
    since = datetime.fromtimestamp(state.since_ms / 1000, UTC).isoformat(timespec="seconds")
    return (
        f"{state.stream}/{state.partition} paused since {since} at offset {state.next_offset}: {state.reason}"
    )
