"""How a pod ends: its deletion and disruption. Pure."""

from __future__ import annotations

from datetime import timedelta

from endpoint_analytics.agents.kubernetes.objects import Condition, Pod
from endpoint_analytics.agents.kubernetes.stage import Step, moment_us, reason_text, second_us


def condition_of(pod: Pod, kind: str) -> Condition | None:
    """Return the pod's condition of that type, if any."""
    return next((each for each in pod.status.conditions if each.type == kind), None)


def is_over(pod: Pod) -> bool:
    """Whether Kubernetes will never start the pod's containers again."""
    return pod.status.phase in {"Succeeded", "Failed"}


def deletion_us(pod: Pod) -> int | None:
    """Return when the pod's deletion was requested: the API stores that time plus the grace period."""
    until = pod.metadata.deletion_timestamp
    if until is None:
        return None
    return second_us(until - timedelta(seconds=pod.metadata.deletion_grace_period_seconds or 0))


def deletion_reason(pod: Pod) -> str:
    """Return why it is being deleted, if Kubernetes says so, else `deleted`."""
    return disruption_reason(pod) or "deleted"


def disruption_reason(pod: Pod) -> str:
    """Return the reason in its disruption condition; empty without one."""
    disrupted = _disruption(pod)
    return "" if disrupted is None else reason_text(disrupted.reason, disrupted.message)


def disruption_us(pod: Pod, run: int) -> int:
    """Return when it was disrupted, 0 if it was not."""
    disrupted = _disruption(pod)
    return 0 if disrupted is None else moment_us(disrupted.last_transition_time, run, Step.ENDED)


def written_us(pod: Pod, now_us: int) -> int:
    """Return when the pod's status was last written; `now_us` if the server does not say."""
    writers = pod.metadata.managed_fields or ()
    times = [each.time for each in writers if each.subresource == "status" and each.time is not None]
    return moment_us(max(times), 0, Step.ENDED) if times else now_us


def _disruption(pod: Pod) -> Condition | None:
    found = condition_of(pod, "DisruptionTarget")
    return found if found is not None and found.status == "True" else None
