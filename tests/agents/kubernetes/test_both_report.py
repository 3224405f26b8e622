"""A proxy or middleware in the pod and the Kubernetes agent both report the states of one replica.

One of them is to be silent (ENDPOINT_ANALYTICS_STATES=off in the pod). Where both speak, the later moment holds: here
it is checked that they end in one state all the same.
"""

from __future__ import annotations

import pytest
from tests.agents.kubernetes.pods import ScriptedPod, us
from tests.agents.kubernetes.test_pod_life import RULES, read, serving

from endpoint_analytics.agents.kubernetes.pod_life import stages_of
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.series_states import AgentLife, Event, spans_of

Said = tuple[float, str]


def spans(
    pod: ScriptedPod, sidecar: list[Said], now: float, heard: tuple[float, float] | None = None
) -> list[Said]:
    """Return the spans from both reporters' events: (seconds after the pod's creation, state)."""
    begin_s = pod.begin.timestamp()
    events = [
        Event(stage.at_us / 1e6, stage.state, stage.reason)
        for stage in stages_of(read(pod), RULES, us(pod.at(now)))
    ]
    events += [Event(begin_s + at, state, "") for at, state in sidecar]
    lives = [AgentLife(begin_s + heard[0], begin_s + heard[1])] if heard else []
    ordered = sorted(events, key=lambda event: event.at_s)
    found = spans_of("llm-1", ordered, lives, Presence(), begin_s + now)
    return [(round(span.from_s - begin_s, 1), span.state) for span in found]


def test_a_silent_sidecar_leaves_the_pods_own_life():
    """The effect of ENDPOINT_ANALYTICS_STATES=off: the heartbeat arrives, and the death is detected."""
    pod = serving()
    assert spans(pod, [], 200, heard=(5, 199)) == [
        (0, "pending"), (2, "pulling"), (30, "initializing"), (50, "running"),
    ]  # fmt: skip
    assert spans(pod, [], 200, heard=(5, 100))[-1] == (
        110,
        "failed",
    )  # unreported: its node is lost, for example


def test_both_report_a_start():
    """The proxy reports running once the server accepts connections; the probe finds it ready a little later."""
    pod = serving()
    seen = spans(pod, [(5.3, "initializing"), (47.1, "running")], 100)
    assert seen[-1] == (47.1, "running")
    assert [state for _, state in seen] == ["pending", "pulling", "initializing", "running"]


@pytest.mark.parametrize("sidecar_ends", [119.2, 120.7])
def test_both_report_an_end(sidecar_ends):
    pod = serving()
    pod.deletion_asked(100)
    pod.all_ended(120)
    seen = spans(pod, [(47.1, "running"), (100.4, "draining"), (sidecar_ends, "terminated")], 200)
    assert seen[-1][1] == "terminated"
    assert [state for _, state in seen][-3:] == ["running", "draining", "terminated"]


def test_both_report_a_crash():
    pod = serving()
    pod.crashes(70)
    pod.runs(71)
    pod.ready(90)
    seen = spans(pod, [(47.1, "running"), (70.2, "failed"), (88.0, "initializing"), (88.1, "running")], 200)
    assert [state for _, state in seen][-3:] == ["failed", "initializing", "running"]


def test_kubernetes_alone_reports_lost_readiness():
    pod = serving()
    pod.unready(80)
    assert spans(pod, [(47.1, "running")], 200)[-1] == (80, "draining")
    pod.ready(95)
    assert spans(pod, [(47.1, "running")], 200)[-1][1] == "running"
