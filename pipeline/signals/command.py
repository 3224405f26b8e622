"""`endpoint-analytics signals`: sends autoscaling signals of all endpoints from ClickHouse to Kafka until stopped."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from contextlib import suppress

from endpoint_analytics.pipeline.signals.producer import SignalProducer
from endpoint_analytics.pipeline.signals.sender import SignalSender
from endpoint_analytics.pipeline.store.database import Database
from endpoint_analytics.schemas.configuration.clickhouse_config import (
    ClickHouseConfig,
    add_clickhouse_options,
    clickhouse_of,
)
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import ConfigurationError, number_option
from endpoint_analytics.schemas.topics import SIGNALS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    add_kafka_options(parser)
    parser.add_argument(
        "--every",
        type=number_option(1, 60),
        default=5.0,
        metavar="SECONDS",
        help="interval between signals, 1 to 60 (default: 5)",
    )
    add_clickhouse_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send until SIGTERM or SIGINT (returns 0); returns 1 if a setting is invalid."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # They log at every attempt what we log once.
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        config = clickhouse_of(arguments)
        kafka = kafka_of(arguments)
        producer = SignalProducer(kafka, SIGNALS.name(kafka.topic_prefix))
    except ConfigurationError as error:
        sys.stderr.write(f"endpoint-analytics signals: {error}\n")
        return 1
    asyncio.run(_run(config, producer, arguments.every))
    return 0


async def _run(config: ClickHouseConfig, producer: SignalProducer, every_s: float) -> None:
    database = Database(config)
    sender = SignalSender(database, producer, every_s, time.time)
    sending = asyncio.ensure_future(sender.run(lambda: print("signals ready", flush=True)))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, sending.cancel)
    try:
        with suppress(asyncio.CancelledError):
            await sending
    finally:
        await producer.close()
        await database.close()
