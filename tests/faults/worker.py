"""The real worker, but with chunks short enough for tests: their length comes from the environment.

With LOSSY, Faust loses some fetched messages, and delivers messages fetched before a rebalance as if they were fetched
after it.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import random
import sys
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from endpoint_analytics.pipeline.core.chunks import ChunkRule
from endpoint_analytics.pipeline.stream.command import add_arguments, run_worker
from endpoint_analytics.pipeline.stream.config import worker_config
from endpoint_analytics.pipeline.stream.transport import Consumer, fetched


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(words)
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if os.environ.get("LOSSY"):
        lose_deliveries(random.Random(os.environ["LOSSY"]))
    rule = ChunkRule(int(os.environ["CHUNK_MS"]), int(os.environ["CHUNK_OFFSETS"]))
    return run_worker(dataclasses.replace(worker_config(arguments), rule=rule))


def lose_deliveries(rng: random.Random) -> None:
    getmany = Consumer.getmany
    to_message = Consumer._to_message
    records: deque[tuple[Any, Any]] = deque(maxlen=30)
    generation = 0

    def remember(self: Any, tp: Any, record: Any) -> Any:
        records.append((tp, record))
        return to_message(self, tp, record)

    async def lossy(self: Any, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        nonlocal generation
        losing = 0
        async for tp, message in getmany(self, timeout):
            if generation != self.app.consumer_generation_id:
                generation = self.app.consumer_generation_id
                for late_tp, record in list(records):
                    if late_tp in self.assignment():
                        yield late_tp, to_message(self, late_tp, record)
            kept = []
            for record in message.value.records:
                if not losing and rng.random() < 0.01:
                    losing = rng.randint(1, 20)
                if losing:
                    losing -= 1
                else:
                    kept.append(record)
            if kept:
                yield tp, to_message(self, tp, fetched(kept))

    Consumer._to_message = remember
    Consumer.getmany = lossy


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
