"""Pods, workloads and scalers of a namespace put together: which endpoint, which replica, which limits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.agents.kubernetes.pods import T0, ScriptedPod, stamp, us
from tests.agents.kubernetes.scalers import autoscaler, deployment, scaled_object
from tests.agents.kubernetes.test_pod_life import read, serving

from endpoint_analytics.agents.kubernetes import endpoints as module
from endpoint_analytics.agents.kubernetes.containers import Rules
from endpoint_analytics.agents.kubernetes.endpoints import KnownEndpoints
from endpoint_analytics.agents.kubernetes.limits_watcher import LimitsWatcher
from endpoint_analytics.agents.kubernetes.naming import NamedReplica, Naming
from endpoint_analytics.agents.kubernetes.objects import AutoscalerObject, ScaledObject, WorkloadObject
from endpoint_analytics.agents.kubernetes.origin_header import Origin
from endpoint_analytics.agents.kubernetes.pod_watcher import PodWatcher
from endpoint_analytics.agents.kubernetes.read_back import ReadBack
from endpoint_analytics.agents.kubernetes.reported import Reported
from endpoint_analytics.agents.kubernetes.selector import parse_selector
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaMessage, ReplicaState

HERE = Origin("", "models")


class Heard:
    """A watcher, and what it reported."""

    def __init__(
        self,
        naming: Naming | None = None,
        selector: str = "app=llm",
        recalled: ReadBack | None = None,
        rules: Rules | None = None,
    ) -> None:
        self.messages: list[tuple[ReplicaMessage, str]] = []
        self.now = T0 + timedelta(seconds=200)
        recalled = recalled or ReadBack()
        endpoints = KnownEndpoints("acme", naming or Naming("llm"))
        self.watcher = PodWatcher(
            endpoints,
            rules or Rules(),
            recalled,
            lambda message, pod: self.messages.append((message, pod)),
            lambda: us(self.now),
            parse_selector(selector).keys,
        )
        limits = LimitsWatcher(
            endpoints,
            parse_selector(selector),
            recalled.limits,
            lambda message: self.messages.append((message, "")),
            lambda: us(self.now),
        )
        self.pods = self.watcher.sink(lambda: None)
        self.deployments = limits.workload_sink("Deployment")
        self.stateful_sets = limits.workload_sink("StatefulSet")
        self.autoscalers = limits.autoscaler_sink()
        self.scaled_objects = limits.scaled_object_sink()

    def settle(self) -> None:
        for sink in (self.deployments, self.stateful_sets, self.autoscalers, self.scaled_objects):
            sink.settled()

    def states(self) -> list[tuple[str, str, str]]:
        taken = [(each.endpoint, each.replica_id, each.state) for each, _ in self.messages
                 if isinstance(each, ReplicaState)]  # fmt: skip
        self.messages.clear()
        return taken

    def limits(self) -> list[tuple[str, int, int]]:
        taken = [(each.endpoint, each.min_replicas, each.max_replicas) for each, _ in self.messages
                 if isinstance(each, EndpointSettings)]  # fmt: skip
        self.messages.clear()
        return taken


def workload(found: dict[str, Any]) -> WorkloadObject:
    return msgspec.json.decode(msgspec.json.encode(found), type=WorkloadObject)


def hpa(found: dict[str, Any]) -> AutoscalerObject:
    return msgspec.json.decode(msgspec.json.encode(found), type=AutoscalerObject)


def keda(found: dict[str, Any]) -> ScaledObject:
    return msgspec.json.decode(msgspec.json.encode(found), type=ScaledObject)


def test_messages_say_whose_they_are():
    heard = Heard()
    heard.pods.listed([read(ScriptedPod("llm-1"))])
    message, pod = heard.messages[0]
    assert pod == "llm-1"
    assert message == ReplicaState(
        namespace="acme", endpoint="llm", replica_id="llm-1", at_us=us(T0), state="pending"
    )
    assert encode(message)


def test_limits_wait_until_all_that_may_set_them_is_known():
    heard = Heard()
    heard.deployments.listed([workload(deployment("llm", 3))])
    heard.deployments.settled()
    heard.stateful_sets.settled()
    heard.autoscalers.settled()
    assert heard.limits() == []
    heard.scaled_objects.listed([keda(scaled_object("llm", 0, 8))])
    heard.scaled_objects.settled()
    assert heard.limits() == [("llm", 0, 8)]


def test_limits_follow_what_changes():
    heard = Heard()
    heard.deployments.changed(workload(deployment("llm", 3)))
    heard.deployments.changed(workload(deployment("other", 5, labels={"app": "tts"})))
    heard.settle()
    assert heard.limits() == [("llm", 3, 3)]
    heard.autoscalers.changed(hpa(autoscaler("llm", 1, 8, written=5)))
    assert heard.limits() == [("llm", 1, 8)]
    heard.now += timedelta(seconds=60)
    heard.autoscalers.removed(hpa(autoscaler("llm", 1, 8)))
    (settings, _) = heard.messages[0]
    assert (settings.min_replicas, settings.max_replicas, settings.at_us) == (3, 3, us(heard.now))
    heard.messages.clear()
    heard.deployments.removed(workload(deployment("llm", 3)))
    assert heard.limits() == [("llm", 0, 0)]


def test_limits_are_known_without_any_pod():
    heard = Heard()
    heard.deployments.listed([workload(deployment("llm", 0))])
    heard.scaled_objects.listed([keda(scaled_object("llm", 0, 4))])
    heard.settle()
    assert heard.limits() == [("llm", 0, 4)]


def test_one_agent_reports_many_endpoints():
    heard = Heard(Naming(endpoint_label="endpoint"), "endpoint")
    for name in ("chat", "embed"):
        heard.pods.changed(read(ScriptedPod(f"{name}-1", labels={"endpoint": name})))
        heard.deployments.changed(workload(deployment(name, 2, labels={"endpoint": name})))
    heard.pods.changed(read(ScriptedPod("stray")))
    assert heard.states() == [("chat", "chat-1", "pending"), ("embed", "embed-1", "pending")]
    heard.settle()
    assert heard.limits() == [("chat", 2, 2), ("embed", 2, 2)]


def test_endpoints_beyond_a_bound_are_left_out(monkeypatch, caplog):
    monkeypatch.setattr(module, "MAX_ENDPOINTS", 2)
    heard = Heard(Naming(endpoint_label="endpoint"), "endpoint")
    for number in range(4):
        heard.pods.changed(read(ScriptedPod(f"pod-{number}", labels={"endpoint": f"e-{number}"})))
    assert [endpoint for endpoint, _, _ in heard.states()] == ["e-0", "e-1"]
    assert "more than 2 endpoints" in caplog.text


def moments(heard: Heard) -> list[tuple[str, int, str]]:
    """Return endpoint, seconds and state of each report since the last call."""
    taken = [(each.endpoint, (each.at_us - us(T0)) // 1_000_000, each.state) for each, _ in heard.messages]
    heard.messages.clear()
    return taken


def labelled(pod: ScriptedPod, second: int | None, **labels: str) -> ScriptedPod:
    """Label it as `kubectl label` does, with the server's record of it, if any."""
    pod.json["metadata"]["labels"] |= labels
    if second is not None:
        pod.json["metadata"]["managedFields"].append(
            {"manager": "kubectl-label", "operation": "Update", "apiVersion": "v1", "time": stamp(pod.at(second)),
             "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {f"f:{key}": {} for key in labels}}}}
        )  # fmt: skip
    return pod


@pytest.mark.parametrize("noted", [150, None], ids=["noted", "not noted"])
def test_a_pod_that_is_relabelled_is_another_endpoints_replica_from_then_on(noted):
    heard = Heard(Naming(endpoint_label="endpoint"), "endpoint")
    pod = serving(labels={"endpoint": "chat"})
    heard.pods.changed(read(pod))
    moments(heard)
    heard.pods.changed(read(labelled(pod, noted, endpoint="embed")))
    joined = noted or 200
    assert moments(heard) == [("chat", 200, "terminated"), ("embed", joined, "running")]
    heard.watcher.tick()
    heard.pods.listed([read(pod)])
    assert moments(heard) == []
    pod.unready(205)
    heard.pods.changed(read(pod))
    assert moments(heard) == [("embed", 201, "draining")]  # no later than the clock
    heard.now += timedelta(seconds=100)
    pod.json["metadata"]["labels"]["endpoint"] = "chat"
    heard.pods.changed(read(pod))
    assert moments(heard) == [("embed", 300, "terminated"), ("chat", 300, "draining")]


def test_a_pod_that_another_agent_reported_is_ours_since_it_was_labelled():
    """Each agent selects the pods of its endpoint; this one sees the pod for the first time, or after a restart."""
    heard = Heard(Naming("embed"), "app=embed")
    pod = labelled(serving(labels={"app": "chat"}), 150, app="embed")
    heard.pods.changed(read(pod))
    assert moments(heard) == [("embed", 150, "running")]
    pod.crashes(160)
    heard.pods.changed(read(pod))
    assert moments(heard) == [("embed", 160, "failed")]


def test_what_was_in_the_second_of_its_labelling_was_before_it():
    heard = Heard(Naming(endpoint_label="endpoint"), "endpoint")
    heard.pods.changed(read(labelled(serving(labels={"endpoint": "chat"}), 50, endpoint="embed")))
    assert moments(heard) == [("embed", 50, "running")]


def test_labels_that_choose_nothing_change_nothing():
    heard = Heard(Naming("llm"))
    heard.pods.changed(read(labelled(serving(), 150, tier="gold")))
    assert moments(heard)[0] == ("llm", 0, "pending")


def test_a_container_that_no_pod_has_is_said_once(caplog):
    heard = Heard(rules=Rules(frozenset({"llm"})))
    for name in ("llm-1", "llm-2"):
        pod = serving()
        pod.json["metadata"]["name"] = name
        heard.pods.changed(read(pod))
    assert moments(heard) == [("llm", 0, "pending")] * 2
    assert caplog.text.count("--container is llm, but its containers are server") == 1


@pytest.mark.parametrize("code", [0, 137])
def test_the_end_stays_as_it_was_when_the_kubelet_lets_go(code):
    heard, pod = Heard(), serving()
    heard.pods.changed(read(pod))
    heard.states()
    pod.deletion_asked(100)
    heard.pods.changed(read(pod))
    pod.all_ended(130, code)
    heard.pods.changed(read(pod))
    pod.let_go(135)
    heard.pods.changed(read(pod))
    heard.pods.removed(read(pod))
    at_us = [(message.at_us - us(T0)) // 1_000_000 for message, _ in heard.messages]
    assert [state for _, _, state in heard.states()] == ["draining", "terminated"]
    assert at_us == [100, 130]


def test_a_second_request_to_delete_is_no_second_draining():
    heard, pod = Heard(), serving()
    pod.deletion_asked(100)
    heard.pods.changed(read(pod))
    heard.states()
    pod.deletion_asked(140, 1)  # its grace period has passed, and somebody is impatient
    heard.pods.changed(read(pod))
    assert heard.states() == []


def test_the_end_is_right_when_only_the_last_word_shows_it():
    """The version in which all had ended was not seen: the connection was lost."""
    heard, pod = Heard(), serving()
    pod.deletion_asked(100)
    heard.pods.changed(read(pod))
    heard.states()
    pod.all_ended(130, 137)
    pod.let_go(135)
    heard.pods.removed(read(pod))
    at_us = [(message.at_us - us(T0)) // 1_000_000 for message, _ in heard.messages]
    assert (heard.states(), at_us) == ([("llm", "llm-1", "terminated")], [130])


def test_pods_that_a_new_list_lacks_have_ended():
    heard = Heard()
    heard.pods.listed([read(ScriptedPod(name)) for name in ("llm-1", "llm-2")])
    heard.states()
    heard.pods.listed([read(ScriptedPod("llm-3"))])
    assert sorted(heard.states()) == [
        ("llm", "llm-1", "terminated"), ("llm", "llm-2", "terminated"), ("llm", "llm-3", "pending"),
    ]  # fmt: skip


def test_what_was_reported_before_and_is_gone_has_ended_once_that_is_certain():
    recalled = ReadBack()
    for name, state in (("llm-1", "running"), ("llm-2", "running"), ("llm-3", "terminated")):
        recalled.replicas[NamedReplica("llm", name)] = (Reported(us(T0), state), name)
    heard = Heard(recalled=recalled)
    heard.pods.listed([read(serving())])
    heard.states()
    assert heard.watcher.vanished() == {NamedReplica("llm", "llm-2"): "llm-2"}
    heard.watcher.confirm_gone(NamedReplica("llm", "llm-2"))
    assert heard.messages[0][1] == "llm-2"
    assert heard.states() == [("llm", "llm-2", "terminated")]
    heard.watcher.confirm_gone(NamedReplica("llm", "llm-1"))  # it is back
    assert heard.states() == []


def test_a_pod_that_loses_its_label_is_no_replica_any_more():
    heard = Heard(Naming(endpoint_label="endpoint"))
    pod = serving(labels={"endpoint": "chat"})
    heard.pods.changed(read(pod))
    heard.states()
    del pod.json["metadata"]["labels"]["endpoint"]
    heard.pods.changed(read(pod))
    assert heard.states() == [("chat", "llm-1", "terminated")]
    assert heard.watcher.pods == 0


def of_one_group(name: str, begin: datetime = T0) -> ScriptedPod:
    pod = serving(begin=begin, labels={"group": "0"})
    pod.json["metadata"]["name"] = name
    return pod


def test_of_pods_with_one_name_made_in_the_same_second_one_speaks():
    heard = Heard(Naming("llm", replica_from="label:group"))
    for name in ("llm-0", "llm-0-1"):
        heard.pods.changed(read(of_one_group(name)))
    heard.states()
    for _ in range(3):
        heard.watcher.tick()
    assert heard.states() == []


def test_the_newest_of_pods_with_one_name_speaks_and_after_it_the_one_before():
    heard = Heard(Naming("llm", replica_from="label:group"))
    old, young = of_one_group("llm-a"), of_one_group("llm-b", T0 + timedelta(seconds=60))
    heard.pods.listed([read(young), read(old)])
    assert [pod for _, pod in heard.messages] == ["llm-b"] * 4
    heard.states()
    old.unready(150)
    heard.pods.changed(read(old))
    assert heard.states() == []
    heard.pods.removed(read(young))
    assert heard.states()[-1] == ("llm", "0", "draining")
    heard.pods.removed(read(young))  # a late word
    assert heard.states() == []
    heard.pods.removed(read(old))
    assert heard.states() == [("llm", "0", "terminated")]


def test_a_pod_that_took_a_name_over_while_no_agent_watched_has_its_own_times():
    heard = Heard()
    heard.pods.listed([read(serving())])
    heard.states()
    heard.now = T0 + timedelta(seconds=900)
    heard.pods.listed([read(serving(begin=T0 + timedelta(seconds=600)))])
    at_s = [(message.at_us - us(T0)) // 1_000_000 for message, _ in heard.messages]
    assert [state for _, _, state in heard.states()] == ["pending", "pulling", "initializing", "running"]
    assert at_s == [600, 602, 630, 650]


def test_what_was_reported_of_a_pod_under_another_name_has_ended():
    """The replicas are named by uid, and a pod of the same name took the place of the one before."""
    recalled = ReadBack()
    recalled.replicas[NamedReplica("llm", "uid-before")] = (Reported(us(T0), "running"), "llm-1")
    recalled.replicas[NamedReplica("llm", "uid-of-another")] = (Reported(us(T0), "running"), "llm-2")
    heard = Heard(Naming("llm", replica_from="uid"), recalled=recalled)
    heard.pods.listed([read(serving())])
    heard.states()
    assert heard.watcher.vanished() == {
        NamedReplica("llm", "uid-before"): "llm-1",
        NamedReplica("llm", "uid-of-another"): "llm-2",
    }
    assert heard.watcher.has("llm-1")
    assert not heard.watcher.has("llm-2")


def test_only_what_comes_from_here_is_taken_up():
    recalled = ReadBack()

    def take(name: str, header: bytes | None, namespace: str = "acme", state: str = "running") -> None:
        message = ReplicaState(
            namespace=namespace, endpoint="llm", replica_id=name, at_us=us(T0), state=state
        )
        recalled.take(encode(message), header, "acme", HERE)

    take("ours", HERE.header_of("ours"))
    take("another cluster's", Origin("eu", "models").header_of("x"))
    take("another namespace's", Origin("", "other").header_of("x"))
    take("another owner's", HERE.header_of("x"), "other")
    take("a sidecar's", None)
    recalled.take(b"no message", HERE.header_of("x"), "acme", HERE)
    assert recalled.living() == {NamedReplica("llm", "ours"): "ours"}
    settings = EndpointSettings(
        namespace="acme", endpoint="llm", at_us=us(T0), min_replicas=1, max_replicas=2
    )
    recalled.take(encode(settings), HERE.header_of(""), "acme", HERE)
    recalled.take(encode(msgspec.structs.replace(settings, max_replicas=9)), None, "acme", HERE)
    assert recalled.limits["llm"].max_replicas == 2


def test_a_tick_reports_again_what_has_lasted():
    heard = Heard()
    heard.pods.listed([read(serving())])
    assert len(heard.states()) == 4
    heard.watcher.tick()
    assert heard.states() == []
    heard.now += timedelta(hours=7)
    heard.watcher.tick()
    assert heard.states() == [("llm", "llm-1", "running")]
