"""`python -m endpoint_analytics.infra.local.demo`: the demo endpoint and its traffic, until SIGTERM.

Prints `demo ready URL` once it accepts requests, and messages for the user after that; everything else goes to
stderr. The clients' counts are written to `traffic.json` in the data directory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from endpoint_analytics.infra.local.demo.arrivals import Arrivals
from endpoint_analytics.infra.local.demo.life import DemoLife
from endpoint_analytics.infra.local.demo.replica import Environment
from endpoint_analytics.infra.local.demo.traffic import Tally, Traffic
from endpoint_analytics.schemas.configuration.command_line import Parser

WRITE_EVERY_S = 5.0


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = Parser(prog="python -m endpoint_analytics.infra.local.demo")
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT", help="address of Kafka")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="directory for the clients' counts"
    )
    parser.add_argument(
        "--logs", type=Path, required=True, metavar="DIR", help="directory for the replicas' logs"
    )
    parser.add_argument(
        "--port", type=int, default=0, metavar="PORT", help="port of the first replica (default: a free port)"
    )
    parser.add_argument(
        "--rate", type=float, default=30.0, metavar="N", help="requests per second (default: %(default)g)"
    )
    parser.add_argument(
        "--pace", type=float, default=1.0, metavar="N", help="speed of the timetable (default: %(default)g)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="random seed of the traffic (default: %(default)s)"
    )
    return parser.parse_args(words)


def log(text: str) -> None:
    """Write a line to the log."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def print_line(text: str) -> None:
    """Show a line to the user, and log it."""
    log(text)
    print(text, flush=True)


async def run(arguments: argparse.Namespace) -> None:
    """Run replicas and traffic until a signal arrives; stop the traffic first, then the replicas."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    arguments.data.mkdir(parents=True, exist_ok=True)
    environment = Environment(arguments.kafka, arguments.data, arguments.logs)
    life = DemoLife(environment, arguments.port, arguments.pace, print_line, log)
    traffic = Traffic(life.targets, Arrivals(arguments.rate), arguments.seed)
    counted = arguments.data / "traffic.json"

    async def work() -> None:
        await life.begin()
        print(f"demo ready {life.targets()[0].url}", flush=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(life.run())
            group.create_task(traffic.run())
            group.create_task(write_counts(traffic.tally, counted))

    working = asyncio.create_task(work())
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
    finally:
        await life.end()
        write_count(traffic.tally, counted)


async def write_counts(tally: Tally, path: Path) -> None:
    """Write the counts every few seconds."""
    while True:
        await asyncio.sleep(WRITE_EVERY_S)
        write_count(tally, path)


def write_count(tally: Tally, path: Path) -> None:
    """Write the counts; a few hundred bytes."""
    path.write_text(json.dumps(tally.as_dict()) + "\n", encoding="ascii")


if __name__ == "__main__":
    asyncio.run(run(parse()))
