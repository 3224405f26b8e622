"""Workloads and scalers in the API's JSON, to the limits of endpoints, and from when on they hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.agents.kubernetes.pods import T0, stamp, us
from tests.agents.kubernetes.scalers import SCALED, autoscaler, deployment, scaled_object

from endpoint_analytics.agents.kubernetes.objects import AutoscalerObject, ScaledObject, WorkloadObject
from endpoint_analytics.agents.kubernetes.reported import AGAIN_US, LATE_US
from endpoint_analytics.agents.kubernetes.reported_limits import LimitsReporter, ReportedLimits
from endpoint_analytics.agents.kubernetes.scaling import (
    ReplicaLimits,
    WorkloadName,
    limits_by_endpoint,
    scaler_of_autoscaler,
    scaler_of_scaled_object,
    workload_of,
)

SECOND = 1_000_000
NOW = us(T0) + 3600 * SECOND


def read(found: dict[str, Any], kind: type) -> Any:
    return msgspec.json.decode(msgspec.json.encode(found), type=kind)


def limits(workloads=(), autoscalers=(), scaled_objects=()) -> dict[str, tuple[int, int]]:
    found = limits_by_endpoint(
        [("llm", workload_of("Deployment", read(each, WorkloadObject))) for each in workloads],
        [scaler_of_autoscaler(read(each, AutoscalerObject)) for each in autoscalers],
        [scaler_of_scaled_object(read(each, ScaledObject)) for each in scaled_objects],
    )
    return {endpoint: (each.min_replicas, each.max_replicas) for endpoint, each in found.items()}


def test_a_deployment_alone_asks_for_one_number():
    assert limits([deployment("llm", 3)]) == {"llm": (3, 3)}
    without = deployment("llm", 3)
    del without["spec"]["replicas"]
    assert limits([without]) == {"llm": (1, 1)}


def test_an_autoscaler_goes_before_the_deployment():
    assert limits([deployment("llm", 3)], [autoscaler("llm", 2, 8)]) == {"llm": (2, 8)}
    assert limits([deployment("llm", 3)], [autoscaler("llm", None, 8)]) == {"llm": (1, 8)}
    assert limits([deployment("llm", 3)], [autoscaler("other", 2, 8)]) == {"llm": (3, 3)}


def test_a_scaled_object_goes_before_the_autoscaler_that_keda_makes_of_it():
    made = autoscaler("llm", 1, 8, name="keda-hpa-llm")
    assert limits([deployment("llm", 0)], [made], [scaled_object("llm", 0, 8)]) == {"llm": (0, 8)}
    assert limits([deployment("llm", 0)], [made], [scaled_object("llm", None, None)]) == {"llm": (0, 100)}
    assert limits([deployment("llm", 0)], [], [scaled_object("llm", 2, 8, idle=0)]) == {"llm": (0, 8)}


def test_a_scaled_object_that_is_paused():
    at_five = scaled_object("llm", 0, 8, annotations={"autoscaling.keda.sh/paused-replicas": "5"})
    assert limits([deployment("llm", 3)], [], [at_five]) == {"llm": (5, 5)}
    as_is = scaled_object("llm", 0, 8, annotations={"autoscaling.keda.sh/paused": "true"})
    assert limits([deployment("llm", 3)], [], [as_is]) == {"llm": (3, 3)}


@pytest.mark.parametrize(("value", "paused"), [
    ("true", True), ("1", True), ("T", True), ("yes", True), ("", True),
    ("false", False), ("0", False), ("False", False),
])  # fmt: skip
def test_what_keda_takes_for_paused(value, paused):
    """Go's strconv.ParseBool; anything that is not a bool pauses."""
    found = scaled_object("llm", 0, 8, annotations={"autoscaling.keda.sh/paused": value})
    assert limits([deployment("llm", 3)], [], [found]) == {"llm": (3, 3) if paused else (0, 8)}


def test_an_autoscaler_leaves_alone_what_was_scaled_to_nothing():
    """By hand, for maintenance: until it is scaled up again. KEDA does scale up again."""
    assert limits([deployment("llm", 0)], [autoscaler("llm", 2, 8)]) == {"llm": (0, 0)}
    assert limits([deployment("llm", 0)], [autoscaler("llm", 0, 8)]) == {"llm": (0, 8)}
    assert limits([deployment("llm", 0)], [], [scaled_object("llm", 2, 8)]) == {"llm": (2, 8)}


def test_workloads_of_one_endpoint_add_up():
    canary = deployment("llm-canary", 1)
    assert limits([deployment("llm", 3), canary], [autoscaler("llm", 2, 8)]) == {"llm": (3, 9)}


def test_limits_hold_from_when_they_were_written():
    found = read(deployment("llm", 3, written=60), WorkloadObject)
    workload = workload_of("Deployment", found)
    assert workload.name == WorkloadName("Deployment", "llm")
    assert workload.at_us == us(T0) + 60 * SECOND  # not when its status was, which names replicas too
    scaler = scaler_of_autoscaler(read(autoscaler("llm", 1, 4, written=90), AutoscalerObject))
    assert scaler.limits == ReplicaLimits(1, 4, us(T0) + 90 * SECOND)
    bare = autoscaler("llm", 1, 4)
    del bare["metadata"]["managedFields"]
    assert scaler_of_autoscaler(read(bare, AutoscalerObject)).limits == ReplicaLimits(1, 4, None)


def test_what_was_scaled_by_hand_has_no_time():
    """The server records who wrote through the scale subresource, but not when."""
    scaled = deployment("llm", 3)
    scaled["metadata"]["managedFields"][0]["fieldsV1"] = {"f:spec": {"f:template": {}}}
    scaled["metadata"]["managedFields"].append(SCALED)
    assert workload_of("Deployment", read(scaled, WorkloadObject)).at_us is None


def test_limits_are_reported_when_they_change_and_from_when_they_did():
    reporter = LimitsReporter()
    asked = us(T0)
    assert reporter.observe({"llm": ReplicaLimits(1, 4, asked)}, NOW) == {"llm": ReportedLimits(asked, 1, 4)}
    assert reporter.observe({"llm": ReplicaLimits(1, 4, asked + 5)}, NOW) == {}
    assert reporter.observe({"llm": ReplicaLimits(1, 8, asked + 9)}, NOW) == {
        "llm": ReportedLimits(asked + 9, 1, 8)
    }


def test_what_holds_again_holds_from_now_on():
    """A scaler was removed: the deployment's own number is older than what it replaces."""
    reporter = LimitsReporter()
    reporter.observe({"llm": ReplicaLimits(1, 8, us(T0) + 60)}, NOW)
    assert reporter.observe({"llm": ReplicaLimits(3, 3, us(T0))}, NOW + 5) == {
        "llm": ReportedLimits(NOW + 5, 3, 3)
    }


def test_an_endpoint_without_workloads_has_no_replicas():
    reporter = LimitsReporter()
    reporter.recall("elsewhere", ReportedLimits(5, 1, 1))
    reporter.observe({"llm": ReplicaLimits(1, 4, NOW)}, NOW)
    assert reporter.observe({}, NOW + 1) == {"llm": ReportedLimits(NOW + 1, 0, 0)}
    assert reporter.observe({}, NOW + 2) == {}


def test_a_restart_reports_nothing_twice():
    reporter = LimitsReporter()
    reporter.recall("llm", ReportedLimits(us(T0), 1, 4))
    assert reporter.observe({"llm": ReplicaLimits(1, 4, us(T0))}, NOW) == {}


@pytest.mark.parametrize("days", [3, 300])
def test_old_limits_are_reported_within_what_the_worker_takes(days):
    now_us = us(T0) + days * 86_400 * SECOND
    first = LimitsReporter().observe({"llm": ReplicaLimits(1, 4, us(T0))}, now_us)["llm"]
    assert now_us - LATE_US <= first.at_us < now_us
    again = LimitsReporter().observe({"llm": ReplicaLimits(1, 4, us(T0))}, now_us + 5)["llm"]
    assert again == first or first.at_us % AGAIN_US == 0


def test_stamps_are_what_the_api_writes():
    assert stamp(T0) == "2026-11-20T10:00:00Z"
