"""`endpoint-analytics signals`: autoscaling signals of all endpoints, from ClickHouse to Kafka, until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import suppress

from endpoint_analytics.pipeline.serve.database import Database
from endpoint_analytics.pipeline.serve.self_metrics import SelfMetrics
from endpoint_analytics.pipeline.signals.producer import SignalProducer
from endpoint_analytics.pipeline.signals.sender import Sender
from endpoint_analytics.pipeline.store.connect import (
    ClickHouseConfig,
    ClickHouseConfigError,
    add_clickhouse_arguments,
    clickhouse_config,
)
from endpoint_analytics.pipeline.stream.config import kafka_security
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX, SIGNALS

_PREFIX = "ENDPOINT_ANALYTICS_"


def interval_s(text: str) -> float:
    """Return a flag's seconds, 1 to 60."""
    value = float(text)
    if not 1 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 60")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    parser.add_argument("--kafka", metavar="HOST:PORT,...", help=f"brokers ({_PREFIX}KAFKA; 127.0.0.1:9092)")
    parser.add_argument(
        "--topic-prefix",
        metavar="NAME",
        help=f"before the topic's name ({_PREFIX}TOPIC_PREFIX; {DEFAULT_PREFIX})",
    )
    parser.add_argument(
        "--every", type=interval_s, default=5.0, metavar="S", help="seconds between signals, 1 to 60 (5)"
    )
    add_clickhouse_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send until SIGTERM or SIGINT (0); 1 when a setting is wrong."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # They say at every try what we say once.
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        config = clickhouse_config(arguments)
    except ClickHouseConfigError as error:
        sys.stderr.write(f"endpoint-analytics signals: {error}\n")
        return 1
    brokers = arguments.kafka or os.environ.get(f"{_PREFIX}KAFKA") or "127.0.0.1:9092"
    prefix = arguments.topic_prefix or os.environ.get(f"{_PREFIX}TOPIC_PREFIX") or DEFAULT_PREFIX
    producer = SignalProducer(brokers, kafka_security(os.environ), SIGNALS.name(prefix))
    asyncio.run(_run(config, producer, arguments.every))
    return 0


async def _run(config: ClickHouseConfig, producer: SignalProducer, every_s: float) -> None:
    database = Database(config, SelfMetrics())
    sender = Sender(database, producer, every_s, time.time)
    sending = asyncio.ensure_future(sender.run(lambda: print("signals ready", flush=True)))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, sending.cancel)
    try:
        with suppress(asyncio.CancelledError):
            await sending
    finally:
        await producer.close()
        await database.close()
