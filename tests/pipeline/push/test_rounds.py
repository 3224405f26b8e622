"""What a round reads and sends, to a real HTTP server."""

from __future__ import annotations

import gzip

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from tests.pipeline.push.test_sender import Clock, in_a_loop, receiver

from endpoint_analytics.pipeline.exposition.families import Sample, family_of
from endpoint_analytics.pipeline.push.rounds import MESSAGE_POINTS, Rounds, next_round_s
from endpoint_analytics.pipeline.push.sender import Sender
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.schemas import metrics as names

pytestmark = pytest.mark.outside

ENDPOINTS = [("acme", name) for name in ("a", "b", "broken", "c", "gone")]


async def list_endpoints():
    return ENDPOINTS


async def families_of(namespace: str, endpoint: str):
    if endpoint == "broken":
        raise StoreError("a query failed")
    if endpoint == "gone":
        return ()
    labels = [(("replica_id", f"r{number}"),) for number in range(MESSAGE_POINTS // 2)]
    return [family_of(names.PENDING_REQUESTS, [Sample("", each, 1) for each in labels])]


@in_a_loop
async def test_messages_are_bounded_and_one_endpoint_does_not_stop_the_others():
    clock = Clock()
    async with receiver() as (url, got), Sender(url, {}, None, clock, clock.sleep) as sender:
        await Rounds(list_endpoints, families_of, sender, 15, lambda: 1.8e9, clock, clock.sleep).push()
    sent = [
        [
            resource.resource.attributes[1].value.string_value
            for resource in ExportMetricsServiceRequest.FromString(gzip.decompress(body)).resource_metrics
        ]
        for _, _, body in got
    ]
    assert [sorted(set(names_)) for names_ in sent] == [["a", "b"], ["c"]]


@in_a_loop
async def test_nothing_is_sent_without_endpoints_or_without_clickhouse():
    async def none():
        return []

    async def fails():
        raise StoreError("unreachable")

    clock = Clock()
    async with receiver() as (url, got), Sender(url, {}, None, clock) as sender:
        for listing in (none, fails):
            await Rounds(listing, families_of, sender, 15, lambda: 1.8e9, clock).push()
    assert got == []


@pytest.mark.parametrize(
    ("now_s", "next_s"), [(0.0, 15), (14.9, 15), (15.0, 30), (1_790_000_001, 1_790_000_010)]
)
def test_rounds_are_at_multiples_of_the_interval(now_s, next_s):
    assert next_round_s(now_s, 15) == next_s
