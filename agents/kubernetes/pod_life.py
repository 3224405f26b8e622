"""The lifecycle of a replica from its pod: turns a pod object into the states it went through, with Kubernetes's times.

Pure. A pod contains its current state and a little history: the last change of its conditions and each container's
previous run. Every version of the pod yields the same times, so reporting them again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from endpoint_analytics.agents.kubernetes.containers import (
    Rules,
    is_the_pods,
    lacks_server,
    prepared,
    reason_of_end,
    served,
    serving_of,
    started_at,
    unprepared,
)
from endpoint_analytics.agents.kubernetes.objects import ContainerStatus, Ended, Pod
from endpoint_analytics.agents.kubernetes.pod_end import (
    condition_of,
    deletion_reason,
    deletion_us,
    disruption_reason,
    disruption_us,
    is_over,
    written_us,
)
from endpoint_analytics.agents.kubernetes.stage import (
    Stage,
    Step,
    in_order,
    moment_us,
    reason_text,
    second_us,
    within_second_us,
)

_NOT_STUCK = frozenset({"", "ContainerCreating", "PodInitializing", "CrashLoopBackOff"})
"""Waiting reasons that are not failures in themselves."""


def stages_of(pod: Pod, rules: Rules, now_us: int) -> tuple[Stage, ...]:
    """Return the stages of the replica's life in the pod, with strictly increasing times; the last one is current.

    `now_us` replaces times that Kubernetes does not give.
    """
    if why := lacks_server(pod, rules):
        created = Stage(
            moment_us(pod.metadata.creation_timestamp, 0, Step.CREATED), "pending", reason_text(why, "")
        )
        return in_order([created, *_left(pod, [], 0, now_us)])
    serving = serving_of(pod, rules)
    run = max((status.restart_count for status in serving), default=0)
    return in_order(
        [
            *_placed(pod),
            *_of_containers(pod, serving, rules, now_us),
            *_ready(pod, serving, run),
            *_stuck(pod, now_us),
            *_left(pod, serving, run, now_us),
        ]
    )


def reason_of_going(pod: Pod, rules: Rules, now_us: int) -> str | None:
    """Return why a pod is gone; None if its last stage was its end. `pod` is its last known state."""
    if is_over(pod) or stages_of(pod, rules, now_us)[-1].state == "terminated":
        return None
    return "removed, or no longer selected" if deletion_us(pod) is None else deletion_reason(pod)


def _placed(pod: Pod) -> Iterable[Stage]:
    yield Stage(moment_us(pod.metadata.creation_timestamp, 0, Step.CREATED), "pending")
    scheduled = condition_of(pod, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        at_us = moment_us(scheduled.last_transition_time, 0, Step.UNSCHEDULED)
        yield Stage(at_us, "pending", reason_text(scheduled.reason, scheduled.message))
    if pod.status.start_time is not None:
        yield Stage(moment_us(pod.status.start_time, 0, Step.ACKNOWLEDGED), "pulling")


def _of_containers(
    pod: Pod, serving: Sequence[ContainerStatus], rules: Rules, now_us: int
) -> Iterable[Stage]:
    """Return the stages of all containers, ordered by time: after a node restart, init containers run again."""
    failures = (stage for stage in unprepared(pod) if not is_the_pods(stage, pod))
    found = [*prepared(pod, rules), *failures, *served(pod, serving, now_us)]
    return sorted(found, key=lambda stage: stage.at_us)


def _ready(pod: Pod, serving: Sequence[ContainerStatus], run: int) -> Iterable[Stage]:
    """Yield that the pod is ready, or no longer is: one that became unready after its containers started was ready."""
    ready = condition_of(pod, "Ready")
    if ready is None or not serving or any(status.state.running is None for status in serving):
        return
    changed, requested_us = ready.last_transition_time, deletion_us(pod)
    if ready.status == "True":
        yield Stage(moment_us(changed, run, Step.READY), "running")
        return
    started = [moment for status in serving if (moment := started_at(status)) is not None]
    if changed is None or not started or changed <= max(started):
        return
    if (
        requested_us is None or second_us(changed) < requested_us
    ):  # otherwise it is unready because it is being deleted
        why = reason_text("not ready", reason_text(ready.reason, ready.message))
        yield Stage(moment_us(changed, run, Step.UNREADY), "draining", why)


def _stuck(pod: Pod, now_us: int) -> Iterable[Stage]:
    """Yield the failure of a container that cannot be created, for its image or configuration. It has no time."""
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = status.state.waiting
        if waiting is not None and waiting.reason not in _NOT_STUCK:
            why = reason_text(waiting.reason, waiting.message)
            yield Stage(written_us(pod, now_us), "failed", why, timed=False)
            return


def _left(pod: Pod, serving: Sequence[ContainerStatus], run: int, now_us: int) -> Iterable[Stage]:
    """Yield how the pod ends: by itself, on request, or lost with its node."""
    requested_us = deletion_us(pod)
    if requested_us is None and not is_over(pod):
        return
    endings = [status.state.terminated for status in serving if status.state.terminated is not None]
    last_us, why = _last_end(pod, endings, run)
    known_us = last_us or disruption_us(pod, run)
    end_us = known_us or written_us(pod, now_us)
    if requested_us is None or (is_over(pod) and end_us < requested_us):  # it had ended before it was deleted
        has_failed = pod.status.phase == "Failed"
        if has_failed:
            why = reason_text(pod.status.reason, pod.status.message) or disruption_reason(pod) or why
        yield Stage(end_us, "failed" if has_failed else "terminated", why, timed=known_us > 0)
        return
    begin_us = requested_us + within_second_us(run, Step.DELETED)
    if pod.status.reason == "NodeLost":
        yield Stage(begin_us, "failed", reason_text("NodeLost", pod.status.message))
    elif any(status.state.running is not None for status in serving) or (endings and end_us >= requested_us):
        yield Stage(begin_us, "draining", deletion_reason(pod))
    if is_over(pod) or (serving and len(endings) == len(serving)):
        yield Stage(max(end_us, requested_us), "terminated", why, timed=known_us > 0)


def _last_end(pod: Pod, endings: Sequence[Ended], run: int) -> tuple[int, str]:
    """Return when the last container ended (0: unknown), and how the first one that failed ended."""
    if not endings and deletion_us(pod) is None:  # it never served
        return next(((stage.at_us, stage.reason) for stage in reversed(unprepared(pod))), (0, ""))
    bad = next((each for each in endings if each.exit_code or each.signal), None)
    last_us = max((moment_us(each.finished_at, run, Step.ENDED) for each in endings), default=0)
    return last_us, "" if bad is None else reason_of_end(bad)
