"""`endpoint-analytics push otlp`: pushes metrics to an OTLP receiver until stopped. Only wiring belongs here."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from endpoint_analytics.pipeline.exposition.families import MetricFamily
from endpoint_analytics.pipeline.push.destination import metrics_url, read_headers
from endpoint_analytics.pipeline.push.rounds import Rounds
from endpoint_analytics.pipeline.push.sender import Sender
from endpoint_analytics.pipeline.serve.scrape.scrapes import Scrapes
from endpoint_analytics.pipeline.store.database import Database
from endpoint_analytics.pipeline.store.endpoint_metrics import MetricsSettings
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.rollup import cached_progress
from endpoint_analytics.pipeline.store.scope import EVERYTHING, Scope
from endpoint_analytics.schemas.configuration.clickhouse_config import (
    ClickHouseConfig,
    add_clickhouse_options,
    clickhouse_of,
)
from endpoint_analytics.schemas.configuration.settings import ConfigurationError, number_option
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name

PROTOCOL = "otlp"
QUANTILE_WINDOW = timedelta(minutes=5)
"""Of the summaries, which are not pushed."""
KEPT_ENDPOINTS = 10_000
"""Endpoints whose histograms are kept from one round to the next, so that only what is new is read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    parser.add_argument(
        "protocol", type=_protocol, metavar="otlp", help="what the receiver understands: OTLP over HTTP"
    )
    parser.add_argument(
        "--endpoint",
        required=True,
        metavar="URL",
        help="the receiver, e.g. http://collector:4318; a URL with a path is used as it is",
    )
    parser.add_argument(
        "--namespace",
        action="append",
        metavar="NAME",
        help="push only the endpoints of this namespace; repeatable (default: all)",
    )
    parser.add_argument(
        "--interval",
        type=number_option(1, 300),
        default=15.0,
        metavar="SECONDS",
        help="time between two pushes, 1 to 300 (default: %(default)g)",
    )
    parser.add_argument(
        "--headers-file",
        metavar="FILE",
        help="file with headers to send, one `Name: value` a line, such as Authorization",
    )
    parser.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="CA certificates to verify the receiver, PEM (default: the system's)",
    )
    add_clickhouse_options(parser)


def _protocol(text: str) -> str:
    if text != PROTOCOL:  # not repeated: it may be a secret in the wrong place
        raise argparse.ArgumentTypeError(f"expected {PROTOCOL}")
    return text


def run(arguments: argparse.Namespace) -> int:
    """Push until SIGTERM or SIGINT (returns 0); returns 1 if a setting is invalid."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)  # we report these failures ourselves
    try:
        config = clickhouse_of(arguments)
        scopes = _scopes(arguments.namespace)
        sender = Sender(
            metrics_url(arguments.endpoint),
            read_headers(arguments.headers_file),
            _ssl_context(arguments.ca_file),
            time.monotonic,
        )
    except ConfigurationError as error:
        sys.stderr.write(f"endpoint-analytics push: {error}\n")
        return 1
    asyncio.run(_run(config, sender, scopes, arguments.interval))
    return 0


def _ssl_context(ca_file: Path | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:
        raise ConfigurationError(f"--ca-file {ca_file} cannot be used: {error}") from error


def _scopes(namespaces: Sequence[str] | None) -> list[Scope]:
    """Return what to push, each namespace once: points that are sent twice would be refused as duplicates."""
    try:
        for namespace in namespaces or ():
            check_name("namespace", namespace)
    except InvalidMessageError as error:
        raise ConfigurationError(f"--namespace: {error.detail}") from error
    return [Scope(namespace) for namespace in dict.fromkeys(namespaces or ())] or [EVERYTHING]


async def _run(config: ClickHouseConfig, sender: Sender, scopes: Sequence[Scope], every_s: float) -> None:
    database = Database(config)
    scrapes = Scrapes(
        database,
        MetricsSettings(QUANTILE_WINDOW, Presence()),
        cached_progress(database, time.monotonic),
        keep_s=0,
        entries=KEPT_ENDPOINTS,
        now=lambda: datetime.now(UTC),
        clock=time.monotonic,
    )

    async def families_of(scope: Scope) -> tuple[MetricFamily, ...]:
        exposition, _ = await scrapes.scrape(scope)
        return () if exposition is None else exposition.families

    async with sender:
        rounds = Rounds(scopes, families_of, sender, every_s, time.time, time.monotonic)
        pushing = asyncio.ensure_future(rounds.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, pushing.cancel)
        print("push ready", flush=True)
        try:
            with suppress(asyncio.CancelledError):
                await pushing
        finally:
            await database.close()
            counts = sender.counts
            logging.getLogger(__name__).info(
                "messages: %s; rejected data points: %d; failed reads: %d",
                dict(counts.messages),
                counts.rejected_points,
                rounds.unread,
            )
