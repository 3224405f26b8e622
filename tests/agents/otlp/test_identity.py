"""Whose requests they are, and why some are nobody's."""

import pytest

from endpoint_analytics.agents.otlp.identity import Fixed, Identity, identify

NAMES = {"service.namespace": "acme", "service.name": "shop", "host.name": "h"}


@pytest.mark.parametrize(
    ("attributes", "replica"),
    [
        ({}, "h"),
        ({"k8s.pod.name": "shop-7f9c-a1"}, "shop-7f9c-a1"),
        ({"k8s.pod.name": "p", "service.instance.id": "i"}, "i"),
        ({"service.instance.id": "host:80/é"}, "host-80"),
        ({"service.instance.id": "://"}, "fallback"),
        ({"host.name": ""}, "fallback"),
        ({"service.instance.id": "x" * 300}, "x" * 128),
    ],
)
def test_the_replica(attributes, replica):
    assert identify(NAMES | attributes, Fixed(replica_id="fallback")) == Identity("acme", "shop", replica)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"service.namespace": ""}, "no_namespace"),
        ({"service.name": ""}, "no_endpoint"),
        ({"service.name": "unknown_service"}, "no_endpoint"),
        ({"service.name": "unknown_service:python"}, "no_endpoint"),
        ({"host.name": ""}, "no_replica"),
        ({"host.name": "///"}, "no_replica"),
        ({"service.namespace": "a/b"}, "bad_name"),
        ({"service.name": "a b"}, "bad_name"),
    ],
)
def test_rejected(attributes, reason):
    assert identify(NAMES | attributes, Fixed()) == reason


def test_options_win_over_what_a_sender_claims():
    assert identify(NAMES, Fixed("mine", "other", "r")) == Identity("mine", "other", "h")
    assert identify(
        {"service.name": "unknown_service", "host.name": "h"}, Fixed("mine", "other")
    ) == Identity("mine", "other", "h")
