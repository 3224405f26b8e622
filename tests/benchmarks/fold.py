"""Decode and fold, without Kafka and ClickHouse: events per second of one core.

The peer is the simple approach: one Python step per event into a dictionary, like a Faust table but without the table's
own cost.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from typing import get_args

import orjson
from tests.benchmarks.log import request_log
from tests.benchmarks.results import Figure

from endpoint_analytics.pipeline.core.boots import Boot
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.partition import Bounds, PartitionFold
from endpoint_analytics.pipeline.core.sketch import BASE
from endpoint_analytics.pipeline.core.stream_folds import RequestsFold
from endpoint_analytics.pipeline.store.writer import encode_rows
from endpoint_analytics.schemas.codec import RequestEncoding

TAKE = 1000


def fold_log(records: list[Record]) -> int:
    """Fold the records like the worker: reads of TAKE messages, rows encoded twice per second of log."""
    fold = PartitionFold(RequestsFold(), "requests", 0, ChunkRule(), Bounds())
    events = 0
    for start in range(0, len(records), TAKE):
        for begins, run in fold.runs(records[start : start + TAKE]):
            if begins:
                if fold.is_open:
                    encode_rows(fold.take_rows(closing=True))
                fold.open(run[0])
            decoded = fold.decode(run)
            fold.restore(Boot(key) for key in fold.unknown(decoded))
            events += fold.fold(run, decoded)[0]
    encode_rows(fold.take_rows(closing=True))
    return events


def count_log(records: list[Record]) -> int:
    """The peer: each event by itself, into dictionaries."""
    import math

    counts: dict[tuple[str, int, int], int] = defaultdict(int)
    sketch: dict[tuple[str, int, int], int] = defaultdict(int)
    scale, events = 1 / math.log(BASE), 0
    for record in records:
        batch = orjson.loads(record.value or b"")
        replica, start = batch["replica_id"], batch["start_us"]
        for at_us in batch["arrived"]["at_us"]:
            counts[replica, (start + at_us) // 10_000_000, 0] += 1
            events += 1
        for phase, measure in (("responded", "wait_us"), ("finished", "duration_us")):
            columns = batch[phase]
            for at_us, measured, status in zip(
                columns["at_us"], columns[measure], columns["status"], strict=True
            ):
                window = (start + at_us) // 10_000_000
                counts[replica, window, status] += 1
                sketch[replica, window, math.ceil(math.log(measured) * scale)] += 1
                events += 1
    return events


def main() -> list[Figure]:
    """Print events per second and core at 500 and at 10 events per message, and the ratio to the peer."""
    figures = []
    for events_a_message, messages in ((500, 4000), (10, 40_000)):
        packed, json = (
            request_log(messages, events_a_message, 200, random.Random(1), encoding=encoding)
            for encoding in get_args(RequestEncoding)
        )
        rounds: dict[str, list[float]] = {"ours": [], "peer": []}
        for _ in range(5):
            for name, function, records in (("ours", fold_log, packed), ("peer", count_log, json)):
                started = time.process_time()
                events = function(records)
                rounds[name].append(events / (time.process_time() - started))
        ours, peer = (sorted(rounds[name])[2] for name in ("ours", "peer"))
        print(
            f"fold, {events_a_message:>3} events a message: {ours / 1e6:6.2f} million events/s a core; "
            f"event by event in Python {peer / 1e6:6.2f}; ratio {ours / peer:5.1f}"
        )
        name = f"decode and fold, {events_a_message} events a message"
        unit, shape = "million events/s a core", "200 replicas, no Kafka, no ClickHouse"
        figures += [
            Figure(name, ours / 1e6, unit, shape),
            Figure(name, peer / 1e6, unit, shape, "event by event in Python"),
        ]
    return figures


if __name__ == "__main__":
    main()
