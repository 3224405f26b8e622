"""When signals are sent: at multiples of the interval, so that two senders refer to the same moments."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.signals.producer import SignalProducer, SignalSendError
from endpoint_analytics.pipeline.signals.sender import SignalSender, next_beat_s
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig


@given(st.floats(1e9, 4e9), st.sampled_from([1.0, 2.5, 5.0, 60.0]))
def test_a_beat_is_the_next_multiple(now_s, every_s):
    at_s = next_beat_s(now_s, every_s)
    assert now_s < at_s <= now_s + every_s
    assert at_s % every_s == 0


@given(st.floats(1e9, 4e9))
def test_all_senders_have_the_same_beats(now_s):
    assert next_beat_s(now_s, 5.0) in (next_beat_s(now_s + 0.5, 5.0), next_beat_s(now_s + 0.5, 5.0) - 5)


@pytest.mark.filterwarnings("ignore")
def test_kafka_that_is_not_there_is_an_error_in_time():
    async def send() -> None:
        producer = SignalProducer(KafkaConfig(bootstrap_servers="127.0.0.1:1"), "topic")
        with pytest.raises(SignalSendError, match=r"Kafka at 127\.0\.0\.1:1"):
            await producer.send([(b"k", b"v")], 0.5)
        await producer.close()

    asyncio.run(send())


@dataclass
class Sent:
    """A producer that accepts everything, and a clock that advances when it is read."""

    reading_s: float
    now_s: float = 1_800_000_000.0
    within: list[float] = field(default_factory=list)

    async def read(self, sql, parameters):
        self.now_s += self.reading_s if "partition_progress" in sql else 0.0
        return []

    async def send(self, messages, within_s):
        self.within.append(within_s)


@pytest.mark.parametrize(
    ("every_s", "reading_s", "left_s"),
    [(1.0, 0.25, 4.75), (1.0, 1.5, 3.5), (1.0, 5.0, None), (60.0, 7.0, 53.0)],
)
def test_a_busy_machine_makes_signals_late_and_not_missing(every_s, reading_s, left_s, caplog):
    sent = Sent(reading_s)
    sender = SignalSender(sent, sent, every_s, lambda: sent.now_s)
    asyncio.run(sender.beat(sent.now_s))
    assert sent.within == ([] if left_s is None else [left_s])
    assert ("reading takes longer than 5 s" in caplog.text) == (left_s is None)
