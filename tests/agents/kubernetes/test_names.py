"""Label selectors, and which replica a pod is."""

from __future__ import annotations

import pytest
from tests.agents.kubernetes.pods import ScriptedPod
from tests.agents.kubernetes.test_pod_life import read

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.kubernetes.naming import NamedReplica, Naming, NoNameError
from endpoint_analytics.agents.kubernetes.origin_header import Origin
from endpoint_analytics.agents.kubernetes.selector import parse_selector

LABELS = {"app": "llm", "tier": "prod", "team.example/owner": "ml", "empty": ""}


@pytest.mark.parametrize(("text", "fits"), [
    ("", True),
    ("app=llm", True),
    ("app==llm,tier = prod", True),
    ("app!=llm", False),
    ("other!=x", True),
    ("app in (llm, tts),tier notin (test,dev)", True),
    ("app in (tts)", False),
    ("other notin (x)", True),
    ("team.example/owner", True),
    ("!team.example/owner", False),
    ("!other", True),
    ("empty=", True),
])  # fmt: skip
def test_selectors_fit_as_in_kubernetes(text, fits):
    assert parse_selector(text).fits(LABELS) is fits


@pytest.mark.parametrize("text", ["app llm", "app=a b", "a,,b", "app in llm", "=x", "app in (a/b)"])
def test_what_kubectl_would_refuse_is_refused(text):
    with pytest.raises(ConfigurationError, match="--selector"):
        parse_selector(text)


def pod(**options) -> object:
    scripted = ScriptedPod(
        "llm-7d9fc5b8-x2x9q", labels={"endpoint": "chat", "apps.kubernetes.io/pod-index": "0"}
    )
    scripted.json["metadata"] |= options
    return read(scripted)


def test_a_pods_name_is_its_replica():
    assert Naming(endpoint="llm").replica_of(pod()) == NamedReplica("llm", "llm-7d9fc5b8-x2x9q")
    assert Naming(endpoint_label="endpoint").replica_of(pod()) == NamedReplica("chat", "llm-7d9fc5b8-x2x9q")


def test_other_names_on_request():
    assert (
        Naming("llm", replica_from="label:apps.kubernetes.io/pod-index").replica_of(pod()).replica_id == "0"
    )
    noted = pod(annotations={"replica": "r-1"})
    assert Naming("llm", replica_from="annotation:replica").replica_of(noted).replica_id == "r-1"
    assert Naming("llm", replica_from="uid").replica_of(noted).replica_id == noted.metadata.uid


@pytest.mark.parametrize("naming", [
    Naming(endpoint_label="other"),
    Naming("llm", replica_from="label:other"),
    Naming("llm", replica_from="annotation:other"),
])  # fmt: skip
def test_a_pod_that_does_not_say_whose_it_is(naming):
    with pytest.raises(NoNameError):
        naming.replica_of(pod())


def test_a_name_too_long_for_a_message():
    with pytest.raises(NoNameError, match="replica_id"):
        Naming("llm").replica_of(pod(name="x" * 200))


@pytest.mark.parametrize("options", [
    {},
    {"endpoint": "a", "endpoint_label": "b"},
    {"endpoint": "a/b"},
    {"endpoint": "a", "replica_from": "ip"},
    {"endpoint": "a", "replica_from": "label:"},
])  # fmt: skip
def test_names_that_cannot_be(options):
    with pytest.raises(ConfigurationError):
        Naming(**options)


def test_an_origin_knows_its_own():
    here = Origin("eu", "models")
    assert here.pod_of(here.header_of("llm-1")) == "llm-1"
    assert here.pod_of(here.header_of("")) == ""
    for other in (Origin("", "models"), Origin("eu", "other")):
        assert here.pod_of(other.header_of("llm-1")) is None
        assert other.pod_of(here.header_of("llm-1")) is None
    assert here.pod_of(b"\xff\xfe") is None
