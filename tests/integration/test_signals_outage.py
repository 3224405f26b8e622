"""The sender of autoscaling signals during outages of other parts, and two senders at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from tests.integration.signals import read_signals, signals_sender
from tests.pipeline.store.rows import boot, insert, window
from tests.support.parts import Stack
from tests.support.waiting import eventually

pytestmark = [pytest.mark.whole, pytest.mark.slow]

NAMESPACE = "acme"
EVERY_US = 1_000_000


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Iterator[Stack]:
    """A stack with an endpoint that is current for the next hour, and one that is silent."""
    with Stack(tmp_path_factory.mktemp("signals"), partitions=2) as stack:
        now = datetime.now(UTC)
        insert(stack.client, "boot_states", [boot(now, age_s=-3600), boot(now, endpoint="silent", age_s=30)])
        full = {"covered_to_us": 10_000_000, "pending_request_us": 20_000_000}
        insert(stack.client, "request_windows", [window(now, age_s=-3600, **full)])
        yield stack


def newer(stack: Stack, count: int) -> None:
    have = len(read_signals(stack, NAMESPACE))
    eventually(
        lambda: len(read_signals(stack, NAMESPACE)), lambda now: now >= have + count, 60, "newer signals"
    )


def times_said(child, words: str) -> int:
    return child.log.read_text().count(words)


def test_nothing_is_sent_of_what_is_not_current_and_doubles_are_equal(parts: Stack) -> None:
    senders = [signals_sender(parts, f"signals-{number}") for number in range(2)]
    for sender in senders:
        sender.start()
    newer(parts, 6)
    assert [sender.stop() for sender in senders] == [0, 0]
    signals = [stored.signal for stored in read_signals(parts, NAMESPACE)]
    assert {signal.endpoint for signal in signals} == {"llm"}
    assert {signal.pending_per_replica for signal in signals} == {2.0}
    moments = Counter(signal.at_us for signal in signals)
    assert max(moments.values()) == 2
    assert len(set(map(repr, signals))) == len(moments)


def test_without_kafka_it_waits_and_sends_nothing_old(parts: Stack) -> None:
    sender = signals_sender(parts, "signals-kafka")
    sender.start()
    newer(parts, 2)
    parts.kafka.stop()
    eventually(lambda: times_said(sender, "signals are not sent"), bool, 40, "it says so")
    time.sleep(3)
    parts.kafka.start()
    newer(parts, 3)
    assert times_said(sender, "signals are not sent") == 1
    assert times_said(sender, "signals are sent again") == 1
    assert sender.stop() == 0
    late_us = [stored.append_us - stored.signal.at_us for stored in read_signals(parts, NAMESPACE)]
    assert max(late_us) <= 2 * EVERY_US


def test_without_clickhouse_it_waits(parts: Stack) -> None:
    sender = signals_sender(parts, "signals-clickhouse")
    sender.start()
    newer(parts, 2)
    parts.clickhouse.stop()
    eventually(lambda: times_said(sender, "a query failed"), bool, 40, "it says so")
    have = len(read_signals(parts, NAMESPACE))
    time.sleep(2)
    assert len(read_signals(parts, NAMESPACE)) == have
    parts.clickhouse.start()
    newer(parts, 2)
    assert times_said(sender, "a query failed") == 1
    assert sender.stop() == 0
