"""From a log through the real fold to the numbers of a scrape: the two ends of the tables agree."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from tests.benchmarks.log import request_log
from tests.pipeline.serve.api.traffic import exact_quantile
from tests.support.stored import insert_rows

from endpoint_analytics.pipeline.core.boots import Boot
from endpoint_analytics.pipeline.core.chunks import ChunkRule
from endpoint_analytics.pipeline.core.partition import Bounds, PartitionFold
from endpoint_analytics.pipeline.core.stream_folds import RequestsFold
from endpoint_analytics.pipeline.store.connect import connect_async
from endpoint_analytics.pipeline.store.endpoint_metrics import MetricsSettings, read_endpoint_metrics
from endpoint_analytics.schemas.codec import decode_requests

REPLICAS, MESSAGES = 3, 120


def stored_rows(records, take):
    """Fold, flushing after every `take` records: the rows of one flush after the other."""
    fold = PartitionFold(RequestsFold(), "requests", 0, ChunkRule(), Bounds())
    for start in range(0, len(records), take):
        for begins, run in fold.runs(records[start : start + take]):
            if begins:
                if fold.is_open:
                    yield fold.take_rows(closing=True)
                fold.open(run[0])
            decoded = fold.decode(run)
            fold.restore(Boot(key) for key in fold.unknown(decoded))
            fold.fold(run, decoded)
        yield fold.take_rows()


class Reader:
    def __init__(self, client):
        self._client = client

    async def read(self, sql, parameters):
        return (await self._client.query(sql, parameters=parameters)).result_rows


def test_what_was_logged_is_what_is_scraped(config, client):
    now = datetime.now(UTC)
    begin = now - timedelta(seconds=MESSAGES // REPLICAS + 2)
    records = request_log(MESSAGES, 30, REPLICAS, random.Random(7), int(begin.timestamp() * 1e6))
    batches = [decode_requests(record.value) for record in records]

    # As it happened, then a worker that crashed and folds all of it again with other flushes.
    for take in (7, 50):
        for rows in stored_rows(records, take):
            insert_rows(client, rows)

    async def read():
        async_client = await connect_async(config)
        metrics = await read_endpoint_metrics(
            Reader(async_client), "bench", "endpoint", now, MetricsSettings()
        )
        await async_client.close()
        return metrics

    metrics = asyncio.run(read())
    sent: Counter[tuple[str, int]] = Counter()
    durations = []
    for batch in batches:
        sent.update((batch.replica_id, status) for status in batch.responded.status)
        durations += batch.finished.duration_us
    assert {
        (replica.replica_id, status): count
        for replica in metrics.replicas
        for status, count in replica.requests.status_counts
    } == dict(sent)
    assert {replica.state for replica in metrics.replicas} == {"running"}
    assert (metrics.latency.count, metrics.latency.sum_us) == (len(durations), sum(durations))
    for q, seconds in metrics.latency.quantiles_s:
        assert seconds == pytest.approx(exact_quantile(durations, q), rel=0.01)
    assert metrics.data_at is not None
    assert abs((now - metrics.data_at).total_seconds() - 1) < 2
