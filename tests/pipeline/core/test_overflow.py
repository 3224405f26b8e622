"""A flood of names: memory is bounded, totals are kept, other namespaces do not suffer."""

from __future__ import annotations

from tests.support.stored import each_row

from endpoint_analytics.pipeline.core.boots import OVERFLOW, Boot, BootKey
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.overflow import MAX_BOOTS, MAX_NAMESPACES, OverflowRule
from endpoint_analytics.pipeline.core.partition import Bounds, PartitionFold
from endpoint_analytics.pipeline.core.sample_fold import MAX_SERIES
from endpoint_analytics.pipeline.core.stream_folds import HardwareFold, RequestsFold
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.hardware import HardwareBatch
from endpoint_analytics.schemas.requests import Arrived, RequestBatch

START_US = 1_790_000_000_000_000


def key(number: int, namespace: str = "flood", endpoint: str = "e") -> BootKey:
    return BootKey(namespace, endpoint, f"r{number}", "b")


def test_boots_beyond_the_allowance_share_one_name() -> None:
    rule = OverflowRule(max_boots=3)
    assert [rule.key_for(key(n)) for n in range(3)] == [key(n) for n in range(3)]
    assert rule.key_for(key(3)) == BootKey("flood", "e", OVERFLOW, OVERFLOW)
    assert rule.key_for(key(1)) == key(1), "one that was admitted stays"


def test_endpoints_beyond_the_allowance_share_one_name() -> None:
    rule = OverflowRule(max_boots=1)
    rule.key_for(key(0))
    assert rule.key_for(key(1, endpoint="new")) == BootKey("flood", OVERFLOW, OVERFLOW, OVERFLOW)


def test_each_namespace_has_its_own_allowance() -> None:
    rule = OverflowRule(max_boots=1)
    rule.key_for(key(0))
    rule.key_for(key(1))
    assert rule.key_for(key(2, namespace="calm")) == key(2, namespace="calm")


def test_namespaces_beyond_theirs_share_one_name() -> None:
    rule = OverflowRule()
    for number in range(MAX_NAMESPACES):
        rule.key_for(key(0, namespace=f"n{number}"))
    assert set(rule.key_for(key(0, namespace="one-more"))) == {OVERFLOW}
    assert rule.key_for(key(1, namespace="n5")) == key(1, namespace="n5")


def fold_all(stream_fold, values: list[bytes]):
    fold = PartitionFold(stream_fold, "topic", 0, ChunkRule(max_offsets=1_000_000), Bounds())
    records = [Record(offset, START_US // 1000 + 1_100, value) for offset, value in enumerate(values)]
    fold.open(records[0])
    events = 0
    for start in range(0, len(records), 1000):
        run = records[start : start + 1000]
        decoded = fold.decode(run)
        fold.restore(Boot(unknown) for unknown in fold.unknown(decoded))
        events += fold.fold(run, decoded)[0]
    return fold, events


def test_a_flood_of_replicas_keeps_its_totals_and_spares_others() -> None:
    def batch(replica: str, namespace: str) -> bytes:
        return encode(
            RequestBatch(
                namespace=namespace,
                endpoint="e",
                replica_id=replica,
                boot_id="b",
                seq=0,
                start_us=START_US,
                end_us=START_US + 1_000_000,
                pending=0,
                streaming=0,
                arrived=Arrived([1, 2]),
            )
        )

    flood = MAX_BOOTS + 500
    values = [batch(f"r{n}", "flood") for n in range(flood)] + [batch("r0", "calm")]
    fold, events = fold_all(RequestsFold(), values)
    rows = list(each_row(fold.take_rows()))
    windows = [row.values for row in rows if row.table == "request_windows"]
    assert events == 2 * (flood + 1)
    assert len(windows) == MAX_BOOTS + 2
    assert sum(row["arrived"] for row in windows if row["namespace"] == "flood") == 2 * flood
    [overflow] = [row for row in windows if row["replica_id"] == OVERFLOW]
    assert (overflow["arrived"], overflow["endpoint"]) == (1000, "e")
    [calm] = [row for row in windows if row["namespace"] == "calm"]
    assert (calm["replica_id"], calm["arrived"]) == ("r0", 2)


def test_a_flood_of_metrics_is_refused_and_leaves_the_replica_its_known_ones() -> None:
    def batch(seq: int, metrics: range) -> bytes:
        return encode(
            HardwareBatch(
                namespace="flood",
                endpoint="e",
                replica_id="r",
                boot_id="b",
                seq=seq,
                start_us=START_US,
                end_us=START_US + 1_000_000,
                at_us=[0],
                replica={f"m{n}": [1.0] for n in metrics},
            )
        )

    values = [batch(seq, range(50 * seq, 50 * seq + 50)) for seq in range(MAX_SERIES // 50 + 10)]
    fold, events = fold_all(HardwareFold(), [*values, batch(len(values), range(50))])
    assert events == MAX_SERIES + 50
    rejections, _ = fold.take_rejected()
    assert {rejection.error.reason for rejection in rejections} == {"too_many_series"}
    assert len(rejections) == 10
