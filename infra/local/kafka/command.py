"""`endpoint-analytics kafka`: runs Kafka until a signal ends it. Only arguments and signals belong here."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from endpoint_analytics.infra.local.kafka.errors import KafkaError
from endpoint_analytics.infra.local.kafka.process import HEAP_MB, KafkaProcess
from endpoint_analytics.schemas.configuration.settings import port_option

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _AskedToEnd(BaseException):
    """SIGTERM or SIGINT arrived."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="directory for topics and messages"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=port_option, default=0, metavar="PORT", help="port to listen on (default: a free port)"
    )
    parser.add_argument(
        "--advertised-host",
        metavar="HOST",
        help="host name that clients are given to connect to (default: the value of --host)",
    )
    parser.add_argument(
        "--heap-mb",
        type=int,
        default=HEAP_MB,
        metavar="MIB",
        help="maximum Java heap in MiB (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run Kafka; print `kafka ready HOST:PORT` once it answers. Returns the exit status."""
    for number in SIGNALS:
        signal.signal(number, _end)
    kafka: KafkaProcess | None = None
    try:
        kafka = KafkaProcess(
            arguments.data,
            host=arguments.host,
            port=arguments.port,
            advertised_host=arguments.advertised_host,
            heap_mb=arguments.heap_mb,
        )
        kafka.start()
        print(f"kafka ready {kafka.bootstrap_servers}", flush=True)
        while kafka.poll() is None:
            time.sleep(0.25)
        print(f"Kafka ended unexpectedly with status {kafka.poll()}:\n{kafka.log_tail()}", file=sys.stderr)
        return 1
    except KafkaError as error:
        print(error, file=sys.stderr)
        return 1
    except _AskedToEnd:
        return 0
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if kafka is not None:
            kafka.stop()


def _end(_number: int, _frame: FrameType | None) -> None:
    raise _AskedToEnd
