"""`endpoint-analytics doctor`: runs the checks and prints what they find. Only flags and printing belong here."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import msgspec

from endpoint_analytics.infra.doctor.finding import Finding
from endpoint_analytics.infra.doctor.kafka import check_kafka
from endpoint_analytics.infra.doctor.machine import check_machine
from endpoint_analytics.schemas.configuration.clickhouse_config import add_clickhouse_options, clickhouse_of
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import read_text

DEFAULT_GROUP = "endpoint-analytics"
_MARKS = {"ok": "ok     ", "warning": "WARNING", "failure": "FAILURE"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    add_kafka_options(parser)
    add_clickhouse_options(parser)
    parser.add_argument(
        "--group", metavar="NAME", help=f"the workers' consumer group (default: {DEFAULT_GROUP})"
    )
    parser.add_argument(
        "--agent", action="store_true", help="check what an agent needs: this machine, Kafka and its topics"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    """Run the checks. Returns 0 if nothing fails, 1 if something does, 2 for invalid settings."""
    with _silence("aiokafka", "endpoint_analytics"):  # what fails is printed
        return asyncio.run(_run(arguments))


@contextmanager
def _silence(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def _run(arguments: argparse.Namespace) -> int:
    failures = warnings = 0
    async for finding in _findings(arguments):
        failures += finding.level == "failure"
        warnings += finding.level == "warning"
        if arguments.json:
            print(msgspec.json.encode(finding).decode(), flush=True)
        else:
            print(f"{_MARKS[finding.level]} {finding.part}: {finding.text}", flush=True)
            if finding.fix:
                print(f"        to fix: {finding.fix}", flush=True)
    if not arguments.json:
        print(f"{failures} failures, {warnings} warnings", file=sys.stderr)
    return 1 if failures else 0


async def _findings(arguments: argparse.Namespace) -> AsyncIterator[Finding]:
    environment = dict(os.environ)
    kafka = kafka_of(arguments)
    group = None if arguments.agent else arguments.group or read_text(environment, "group") or DEFAULT_GROUP
    for finding in check_machine(environment, reads_kafka=not arguments.agent):
        yield finding
    async for finding in check_kafka(kafka, group):
        yield finding
    if not arguments.agent:
        async for finding in _stored(arguments):
            yield finding


async def _stored(arguments: argparse.Namespace) -> AsyncIterator[Finding]:
    """Yield what is found in ClickHouse, whose packages an agent's machine does not have."""
    from endpoint_analytics.infra.doctor.clickhouse import check_clickhouse
    from endpoint_analytics.infra.doctor.pipeline import check_pipeline
    from endpoint_analytics.pipeline.store.database import Database

    config = clickhouse_of(arguments)
    database = Database(config)
    try:
        is_usable = True
        async for finding in check_clickhouse(database, config):
            is_usable &= finding.level != "failure"
            yield finding
        if is_usable:
            async for finding in check_pipeline(database):
                yield finding
    finally:
        await database.close()
