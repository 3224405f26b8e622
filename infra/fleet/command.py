"""`endpoint-analytics fleet`: generates the load of thousands of replicas, for benchmarks and trials."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from endpoint_analytics.infra.fleet.config import STATUSES, FleetConfig, FleetConfigError
from endpoint_analytics.infra.fleet.fleet import Fleet
from endpoint_analytics.infra.fleet.latency import FORMS, parse_latency
from endpoint_analytics.infra.fleet.truth import FleetTruth
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of

_CHANCES = {
    "informational": "share of requests with an interim status 103",
    "abort-pending": "share of requests aborted before their status",
    "abort-streaming": "share of requests aborted while streaming",
    "restarts": "share of batches after which the replica restarts",
    "copies": "share of batches after which the process is copied and both continue under one boot ID",
    "duplicates": "share of batches after which an earlier batch is sent again",
    "gaps": "share of batches that are never sent",
    "late": "share of batches that are held back for --late-batches batches",
    "poison": "share of batches that are followed by an unusable message",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the fleet's flags."""
    defaults = FleetConfig()
    add_kafka_options(parser)
    parser.add_argument(
        "--name",
        default=defaults.name,
        help="namespace, or the prefix of numbered namespaces (default: %(default)s)",
    )
    parser.add_argument(
        "--replicas", type=int, default=1000, metavar="N", help="number of replicas (default: 1000)"
    )
    parser.add_argument(
        "--endpoints", type=int, default=10, metavar="N", help="number of endpoints (default: 10)"
    )
    parser.add_argument(
        "--namespaces", type=int, default=1, metavar="N", help="number of namespaces (default: 1)"
    )
    parser.add_argument(
        "--rate", type=float, default=10.0, metavar="N", help="requests/s per replica (default: 10)"
    )
    parser.add_argument(
        "--interval", type=float, default=1.0, metavar="SECONDS", help="time between batches (default: 1)"
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, metavar="SECONDS", help="how long to send (default: 60)"
    )
    parser.add_argument("--fast", type=int, default=0, metavar="ROUNDS",
                        help="send this many batches per replica without pauses, instead of for --seconds")  # fmt: skip
    parser.add_argument(
        "--latency",
        default="lognormal",
        metavar="DISTRIBUTION",
        help=f"latency distribution: {FORMS} (default: lognormal:0.05:0.8)",
    )
    parser.add_argument("--statuses", metavar="CODE=SHARE,...", help="mix of HTTP statuses")
    for name, text in _CHANCES.items():
        default = getattr(defaults, name.replace("-", "_"))
        parser.add_argument(
            f"--{name}", type=float, default=default, metavar="SHARE", help=f"{text} (default: {default:g})"
        )
    parser.add_argument(
        "--late-batches",
        type=int,
        default=defaults.late_batches,
        metavar="N",
        help="how many batches --late holds back (default: %(default)s)",
    )
    parser.add_argument("--overlap", type=int, default=0, metavar="N",
                        help="batches that an old boot still sends alongside the new one (default: 0)")  # fmt: skip
    parser.add_argument(
        "--clock-offset", type=float, default=0.0, metavar="SECONDS", help="offset of all clocks (default: 0)"
    )
    parser.add_argument(
        "--clock-spread",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="largest further offset of each clock, in either direction (default: 0)",
    )
    parser.add_argument("--hardware", action="store_true", help="also send hardware batches")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="random seed (default: drawn at random, and printed)"
    )
    parser.add_argument(
        "--truth", type=Path, metavar="FILE", help="write what was sent, per boot, to FILE as JSON"
    )


def run(arguments: argparse.Namespace) -> int:
    """Send; returns 0 when Kafka has stored everything, 2 for invalid settings."""
    try:
        config = _config(arguments)
        fleet = Fleet(config, kafka := kafka_of(arguments))
        make_ssl_context(kafka)
    except (FleetConfigError, ValueError) as error:
        print(f"endpoint-analytics fleet: {error}", file=sys.stderr)
        return 2
    # The client logs an unavailable broker a hundred times; the sender logs it each time it gives up waiting.
    logging.basicConfig(format="fleet: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print(
        f"fleet: {config.replicas} replicas, {config.rate:g} requests/s each, seed {config.seed}", flush=True
    )
    begun = time.monotonic()
    try:
        if arguments.fast:
            asyncio.run(fleet.run_fast(arguments.fast))
        else:
            asyncio.run(fleet.run_steadily(arguments.seconds, _reporter(begun)))
    except KeyboardInterrupt:
        print("fleet: stopped; messages in flight may or may not be stored", file=sys.stderr)
    _report(fleet.truth, time.monotonic() - begun)
    if arguments.truth is not None:
        arguments.truth.write_bytes(msgspec.json.encode(_truth(fleet.truth)))
    return 0


def _config(arguments: argparse.Namespace) -> FleetConfig:
    statuses = dict(STATUSES)
    if arguments.statuses:
        pairs = (pair.split("=") for pair in arguments.statuses.split(","))
        statuses = {int(status): float(share) for status, share in pairs}
    return FleetConfig(
        name=arguments.name,
        replicas=arguments.replicas,
        endpoints=arguments.endpoints,
        namespaces=arguments.namespaces,
        rate=arguments.rate,
        interval_s=arguments.interval,
        statuses=statuses,
        latency=parse_latency(arguments.latency),
        late_batches=arguments.late_batches,
        overlap=arguments.overlap,
        clock_offset_s=arguments.clock_offset,
        clock_spread_s=arguments.clock_spread,
        hardware=arguments.hardware,
        seed=random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed,
        **{name.replace("-", "_"): getattr(arguments, name.replace("-", "_")) for name in _CHANCES},
    )


def _reporter(begun: float) -> Any:
    reported = begun

    def report(truth: FleetTruth) -> None:
        nonlocal reported
        if time.monotonic() - reported >= 5:
            reported = time.monotonic()
            _report(truth, reported - begun)

    return report


def _report(truth: FleetTruth, seconds: float) -> None:
    print(
        f"fleet: {seconds:.0f} s, {truth.messages} messages ({truth.messages / seconds:.0f}/s), "
        f"{truth.batches} batches, {truth.again} sent again, {truth.left_out} never sent, "
        f"{truth.events} events ({truth.events / seconds:.0f}/s), {truth.poison.total()} unusable messages",
        flush=True,
    )


def _truth(truth: FleetTruth) -> list[dict[str, object]]:
    return [
        {
            **name._asdict(),
            "batches": boot.batches,
            "again": boot.again,
            "left_out": boot.left_out,
            "accepted": boot.accepted.totals(),
            "lost": boot.lost.totals(),
        }
        for name, boot in truth.boots.items()
    ]
