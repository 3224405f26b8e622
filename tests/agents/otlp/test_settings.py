"""Settings that follow from others."""

from __future__ import annotations

import pytest

from endpoint_analytics.agents.otlp.identity import Fixed
from endpoint_analytics.agents.otlp.settings import OtlpSettings
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig


def settings(**changed) -> OtlpSettings:
    defaults = {"kafka": KafkaConfig(), "listen": ("127.0.0.1", 4318), "fixed": Fixed(), "token": "t"}
    return OtlpSettings(**(defaults | changed))


@pytest.mark.parametrize(
    ("changed", "becomes"),
    [
        ({}, "keep"),
        ({"listen": ("localhost", 4318)}, "keep"),
        ({"listen": ("0.0.0.0", 4318)}, "return"),
        ({"listen": ("0.0.0.0", 4318), "unconfirmed": "keep"}, "keep"),
        ({"unconfirmed": "return"}, "return"),
        ({"listen": None, "topic": "otlp_spans"}, "keep"),
    ],
)
def test_what_others_can_reach_may_be_one_of_several(changed, becomes):
    assert settings(**changed).unconfirmed_become == becomes


@pytest.mark.parametrize(
    ("changed", "replicas"),
    [
        ({}, 2_500),
        ({"max_replicas": 3}, 1),
        ({"fixed": Fixed(namespace="acme")}, 10_000),
        ({"max_namespace_replicas": 7}, 7),
    ],
)
def test_a_namespace_has_a_share_of_the_replicas_unless_it_is_the_only_one(changed, replicas):
    assert settings(**changed).namespace_replicas == replicas
