"""A log of request batches for the benchmarks: many replicas, one batch a second each, from a seed."""

from __future__ import annotations

import random

from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.schemas.codec import RequestEncoding, encode_requests
from endpoint_analytics.schemas.requests import Arrived, Finished, RequestBatch, Responded, Totals

START_US = 1_790_000_000_000_000


def request_log(
    messages: int,
    events_a_message: int,
    replicas: int,
    rng: random.Random,
    start_us: int = START_US,
    encoding: RequestEncoding = "packed",
) -> list[Record]:
    """Return records of batches; a request is three events: arrived, responded, finished."""
    shapes = [_columns(events_a_message, rng) for _ in range(50)]
    records = []
    for number in range(messages):
        seq, replica = divmod(number, replicas)
        begin_us = start_us + seq * 1_000_000 + replica * 1_000_000 // replicas
        arrived, responded, finished = rng.choice(shapes)
        batch = RequestBatch(
            namespace="bench",
            endpoint="endpoint",
            replica_id=f"replica-{replica}",
            boot_id="0123456789abcdef0123456789abcdef",
            seq=seq,
            start_us=begin_us,
            end_us=begin_us + 1_000_000,
            pending=len(responded.at_us),
            streaming=len(finished.at_us),
            arrived=arrived,
            responded=responded,
            finished=finished,
            totals=Totals(arrived=(seq + 1) * len(arrived.at_us), status={"200": 1, "500": 1}),
        )
        records.append(Record(number, (begin_us + 1_010_000) // 1000, encode_requests(batch, encoding)))
    return records


def _columns(events: int, rng: random.Random) -> tuple[Arrived, Responded, Finished]:
    # What is left over from a division by three are requests that only arrived, or also responded.
    arrived, responded, finished = ((events + more) // 3 for more in (2, 1, 0))

    def times(count: int) -> list[int]:
        return sorted(rng.randrange(1_000_000) for _ in range(count))

    def spans(count: int) -> list[int]:
        return [int(rng.lognormvariate(10, 1)) + 1 for _ in range(count)]

    def statuses(count: int) -> list[int]:
        return [200 if rng.random() < 0.98 else 500 for _ in range(count)]

    begun, waits = times(arrived), spans(responded)
    durations = [wait + more for wait, more in zip(waits, spans(finished), strict=False)]
    status = statuses(responded)
    # Who takes longer than until the end of the second does so in a later one.
    return (
        Arrived(begun),
        Responded([(at + wait) % 1_000_000 for at, wait in zip(begun, waits, strict=False)], waits, status),
        Finished(
            [(at + duration) % 1_000_000 for at, duration in zip(begun, durations, strict=False)],
            durations,
            status[:finished],
        ),
    )
