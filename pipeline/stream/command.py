"""`endpoint-analytics worker`: runs the Faust app until a signal ends it or it cannot continue."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys

import uvloop

from endpoint_analytics.pipeline.stream.app import Worker
from endpoint_analytics.pipeline.stream.config import WorkerConfig, add_worker_arguments, worker_config
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_failure import explain_failure, find_unreadable
from endpoint_analytics.schemas.configuration.settings import ConfigurationError

log = logging.getLogger(__name__)

STOP_WITHIN_S = 5.0
UNREADABLE_AFTER_S, UNREADABLE_EVERY_S = 2.0, 60.0
EXIT_FAILED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the worker's flags."""
    add_worker_arguments(parser)
    parser.add_argument(
        "--log-level",
        type=str.upper,
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
        default="WARNING",
        help="minimum level of log messages (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the worker; returns 0 after SIGTERM or SIGINT, EXIT_FAILED if it could not continue."""
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        config = worker_config(arguments)
        make_ssl_context(config.kafka)  # report invalid settings before anything starts
    except ConfigurationError as error:
        print(f"endpoint-analytics worker: {error}", file=sys.stderr)
        return 2
    return run_worker(config)


def run_worker(config: WorkerConfig) -> int:
    """Run a worker with these settings in this process's main thread."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # Faust's consumer thread creates its own loop
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = Worker(config)
    # Messages and rows have no cycles, and there are many of them at once.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True
        loop.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    starting = loop.create_task(worker.start())
    starting.add_done_callback(lambda task: _started(task, worker, loop))
    watching = [loop.create_task(_watch(worker, loop)), loop.create_task(_report_unreadable(worker))]
    loop.run_forever()
    for task in watching:
        task.cancel()
    if worker.failed is not None:
        _report(worker.failed, worker, loop)
    # Stopping is quick and must never hang.
    with contextlib.suppress(TimeoutError, RuntimeError):
        loop.run_until_complete(asyncio.wait_for(worker.stop(), STOP_WITHIN_S))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if stopping and worker.failed is None else EXIT_FAILED)


async def _watch(worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
    """Stop the loop if a part of Faust crashed: otherwise the worker would silently hang."""
    while not worker.app.crashed:  # noqa: ASYNC110 - Faust has no event for it that outlives a crash
        await asyncio.sleep(0.5)
    worker.failed = worker.failed or worker.app.crash_reason or RuntimeError("Faust crashed")
    loop.stop()


async def _report_unreadable(worker: Worker) -> None:
    """Log topics that the worker has no permission to read, as long as there are any: Faust silently skips them."""
    topics = [reader.topic for reader in worker.readers]
    while True:
        await asyncio.sleep(UNREADABLE_AFTER_S)
        lines = await find_unreadable(worker.config.kafka, worker.ssl_context, topics, worker.config.group)
        if lines == []:
            return
        for line in lines or ():  # None: no broker answers now
            log.error("some topics are not read until this is fixed: %s", line)
        await asyncio.sleep(UNREADABLE_EVERY_S)


def _started(task: asyncio.Task[None], worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        worker.failed = error
        loop.stop()
        return
    print("worker ready", flush=True)


def _report(error: BaseException, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
    """Print why the worker exits; if Kafka is the cause, what is wrong there and how to fix it."""
    with contextlib.suppress(RuntimeError):
        why = loop.run_until_complete(explain_failure(error, worker.config.kafka, worker.ssl_context))
        print(f"endpoint-analytics worker: cannot continue, exiting: {why}", file=sys.stderr)
