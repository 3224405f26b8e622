"""What the log tells of troubles: at once, then once a minute, and the rest at the end."""

from __future__ import annotations

from endpoint_analytics.agents.otlp.tally import LOG_EVERY_S, Tally, Trouble


def test_each_trouble_is_logged_once_a_minute_with_its_number(caplog):
    now_s = 0.0
    trouble = Trouble("%d are lost: %s", lambda: now_s)
    for why in "abc":
        trouble.add(1, why)
    now_s = LOG_EVERY_S
    trouble.add(2, "d")
    trouble.add(3, "e")
    trouble.log_rest()
    trouble.log_rest()
    assert caplog.messages == ["1 are lost: a", "4 are lost: d", "3 are lost: e"]
    assert trouble.count == 8


def test_the_rest_of_all(caplog):
    tally = Tally()
    tally.lost_states.add(1, "too many wait for Kafka")
    tally.lost_states.add(4, "too many wait for Kafka")
    tally.log_rest()
    assert caplog.messages[-1] == "4 replica states are lost: too many wait for Kafka"
