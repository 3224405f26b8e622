"""`endpoint-analytics fleet`: load as thousands of replicas make it, for benchmarks and trials."""

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
from endpoint_analytics.infra.fleet.law import FORMS, parse_law
from endpoint_analytics.infra.fleet.truth import FleetTruth
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of

_CHANCES = {
    "informational": "requests with an interim status 103",
    "abort-pending": "requests that end before a status",
    "abort-streaming": "requests that end while they stream",
    "restarts": "batches after which the replica boots again",
    "copies": "batches after which the process is copied, and both go on under one boot",
    "duplicates": "batches after which an earlier one is sent again",
    "gaps": "batches that are never sent",
    "late": "batches that are held back for --late-batches",
    "poison": "batches beside which an unusable message is sent",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the fleet's flags."""
    defaults = FleetConfig()
    add_kafka_options(parser)
    parser.add_argument("--name", default=defaults.name, help="namespace, or before the number of each")
    parser.add_argument("--replicas", type=int, default=1000, metavar="N", help="replicas (1000)")
    parser.add_argument("--endpoints", type=int, default=10, metavar="N", help="endpoints (10)")
    parser.add_argument("--namespaces", type=int, default=1, metavar="N", help="namespaces (1)")
    parser.add_argument(
        "--rate", type=float, default=10.0, metavar="N", help="requests/s of each replica (10)"
    )
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="from batch to batch (1)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="how long to send (60)")
    parser.add_argument("--fast", type=int, default=0, metavar="ROUNDS",
                        help="send so many batches of each replica without a pause, instead")  # fmt: skip
    parser.add_argument("--latency", default="lognormal", metavar="LAW", help=f"{FORMS} (lognormal:0.05:0.8)")
    parser.add_argument("--statuses", metavar="CODE=SHARE,...", help="the mix of HTTP statuses")
    for name, text in _CHANCES.items():
        default = getattr(defaults, name.replace("-", "_"))
        parser.add_argument(
            f"--{name}", type=float, default=default, metavar="SHARE", help=f"{text} ({default:g})"
        )
    parser.add_argument(
        "--late-batches", type=int, default=defaults.late_batches, metavar="N", help="see --late"
    )
    parser.add_argument("--overlap", type=int, default=0, metavar="N",
                        help="batches that an old boot sends beside the new one (0)")  # fmt: skip
    parser.add_argument(
        "--clock-offset", type=float, default=0.0, metavar="S", help="all clocks are off so far"
    )
    parser.add_argument(
        "--clock-spread", type=float, default=0.0, metavar="S", help="each more or less by so much"
    )
    parser.add_argument("--hardware", action="store_true", help="send hardware batches too")
    parser.add_argument("--seed", type=int, help="of all chance; without one it is drawn, and printed")
    parser.add_argument(
        "--truth", type=Path, metavar="FILE", help="write what was sent, boot by boot, as JSON"
    )


def run(arguments: argparse.Namespace) -> int:
    """Send; returns 0 when Kafka has stored all, 2 for settings that cannot be."""
    try:
        config = _config(arguments)
        fleet = Fleet(config, kafka := kafka_of(arguments))
        make_ssl_context(kafka)
    except (FleetConfigError, ValueError) as error:
        print(f"endpoint-analytics fleet: {error}", file=sys.stderr)
        return 2
    # The client says a hundred times that a broker is away; the sender says it each time that it gives up waiting.
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
            asyncio.run(fleet.run_steadily(arguments.seconds, _teller(begun)))
    except KeyboardInterrupt:
        print("fleet: stopped; what was being sent may be stored or not", file=sys.stderr)
    _tell(fleet.truth, time.monotonic() - begun)
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
        latency=parse_law(arguments.latency),
        late_batches=arguments.late_batches,
        overlap=arguments.overlap,
        clock_offset_s=arguments.clock_offset,
        clock_spread_s=arguments.clock_spread,
        hardware=arguments.hardware,
        seed=random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed,
        **{name.replace("-", "_"): getattr(arguments, name.replace("-", "_")) for name in _CHANCES},
    )


def _teller(begun: float) -> Any:
    told = begun

    def tell(truth: FleetTruth) -> None:
        nonlocal told
        if time.monotonic() - told >= 5:
            told = time.monotonic()
            _tell(truth, told - begun)

    return tell


def _tell(truth: FleetTruth, seconds: float) -> None:
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
