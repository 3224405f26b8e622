"""When signals are sent: at multiples of the interval, so that two senders speak of the same moments."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.signals.producer import SendError, SignalProducer
from endpoint_analytics.pipeline.signals.sender import next_beat_s
from endpoint_analytics.pipeline.stream.config import KafkaSecurity


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
        producer = SignalProducer("127.0.0.1:1", KafkaSecurity(), "topic")
        with pytest.raises(SendError, match=r"Kafka at 127\.0\.0\.1:1"):
            await producer.send([(b"k", b"v")], 0.5)
        await producer.close()

    asyncio.run(send())
