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
from endpoint_analytics.pipeline.store.scope import Scope
from endpoint_analytics.schemas import metrics as names

pytestmark = pytest.mark.outside


async def families_of(scope: Scope):
    if scope.namespace == "broken":
        raise StoreError("a query failed")
    if scope.namespace == "empty":
        return ()
    of = ("endpoint_namespace", scope.namespace), ("endpoint_name", "llm")
    labels = [(*of, ("replica_id", f"r{number}")) for number in range(MESSAGE_POINTS + 1)]
    return [family_of(names.PENDING_REQUESTS, [Sample("", each, 1) for each in labels])]


@in_a_loop
async def test_messages_are_bounded_and_one_namespace_does_not_stop_the_others():
    clock, scopes = Clock(), [Scope(name) for name in ("a", "broken", "empty", "b")]
    async with receiver() as (url, got), Sender(url, {}, None, clock, clock.sleep) as sender:
        rounds = Rounds(scopes, families_of, sender, 15, lambda: 1.8e9, clock, clock.sleep)
        await rounds.push()
    assert rounds.unread == 1
    bodies = [gzip.decompress(body) for _, _, body in got]
    sent = [ExportMetricsServiceRequest.FromString(body).resource_metrics for body in bodies]
    namespaces = [resources[0].resource.attributes[0].value.string_value for resources in sent]
    assert list(zip(namespaces, map(len, sent), strict=True)) == [
        ("a", MESSAGE_POINTS),
        ("a", 1),
        ("b", MESSAGE_POINTS),
        ("b", 1),
    ]
    points = [resources[0].scope_metrics[0].metrics[0].gauge.data_points[0] for resources in sent]
    assert {point.time_unix_nano for point in points} == {1_800_000_000 * 10**9}


@pytest.mark.parametrize(
    ("now_s", "next_s"), [(0.0, 15), (14.9, 15), (15.0, 30), (1_790_000_001, 1_790_000_010)]
)
def test_rounds_are_at_multiples_of_the_interval(now_s, next_s):
    assert next_round_s(now_s, 15) == next_s
