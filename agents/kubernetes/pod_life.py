"""The life of a replica as its pod tells it: a pod object to the states it went through, with Kubernetes's own times.

Pure. A pod says what is, and of what was only some: its conditions' last change and each container's run before.
So the same moments come out of whatever version of the pod is looked at, and telling them again changes nothing.

Kubernetes's times are whole seconds. Moments of one second are put in order by microseconds: ten for each restart,
and within them by the step of a life. Where clocks of machines differ, a later step never comes before an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from endpoint_analytics.agents.kubernetes.objects import (
    Condition,
    ContainerStatus,
    Ended,
    Pod,
)
from endpoint_analytics.schemas.limits import MAX_REASON_LENGTH
from endpoint_analytics.schemas.replicas import State

# Steps within one second.
_CREATED, _UNSCHEDULED, _TAKEN_ON, _DOWNLOADS, _PULLS_ON, _STARTED, _READY, _UNREADY, _DELETED, _ENDED = (
    range(10)
)
_STEPS = 10
_MOST_RESTARTS = 99_999

_GOING_ON = frozenset({"", "ContainerCreating", "PodInitializing", "CrashLoopBackOff"})
"""Reasons of waiting that are no failure of their own."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which containers count. `serving`: names, none for all but sidecars. `downloads`: patterns of init containers."""

    serving: frozenset[str] = frozenset()
    downloads: tuple[str, ...] = ("storage-initializer", "*download*")


@dataclass(frozen=True, slots=True)
class Stage:
    """A state from `at_us` on. `timed`: whether Kubernetes says since when; else it is when that was last written."""

    at_us: int
    state: State
    reason: str = ""
    timed: bool = True


def stages_of(pod: Pod, rules: Rules, now_us: int) -> tuple[Stage, ...]:
    """Return what the pod tells of its replica's life, in order, each later than the one before; the last one is now.

    `now_us` stands in for times that Kubernetes does not give.
    """
    serving = _serving(pod, rules)
    stages = [*_before_start(pod, rules), *_runs(pod, serving)]
    ready = condition(pod, "Ready")
    run = max((status.restart_count for status in serving), default=0)
    started = [moment for status in serving if (moment := _started_at(status)) is not None]
    up = bool(serving) and all(status.state.running is not None for status in serving)
    if ready is not None and ready.status == "True" and up:
        stages.append(Stage(_at(ready.last_transition_time, run, _READY), "running"))
    elif ready is not None and up and _was_ready(ready, started) and not _leaves_before(pod, ready):
        stages.append(
            Stage(_at(ready.last_transition_time, run, _UNREADY), "draining", _said("not ready", ready))
        )
    stages += _stuck(pod, now_us)
    stages += _departure(pod, serving, run, now_us)
    return _in_order(stages)


def end_of(pod: Pod, rules: Rules, now_us: int) -> Stage | None:
    """Return the end of a pod that is gone, None when its last stage was one; `pod` is how it was last seen."""
    last = stages_of(pod, rules, now_us)[-1]
    if last.state == "terminated" or is_over(pod):
        return None
    asked_us = _deletion_us(pod)
    reason = "removed, or no longer selected" if asked_us is None else _deletion_reason(pod)
    return Stage(max(now_us, last.at_us + 1), "terminated", reason, timed=False)


def is_over(pod: Pod) -> bool:
    """Whether Kubernetes will start none of the pod's containers again."""
    return pod.status.phase in {"Succeeded", "Failed"}


def condition(pod: Pod, kind: str) -> Condition | None:
    """Return the pod's condition of that type."""
    return next((each for each in pod.status.conditions if each.type == kind), None)


def _before_start(pod: Pod, rules: Rules) -> Iterable[Stage]:
    yield Stage(_at(pod.metadata.creation_timestamp, 0, _CREATED), "pending")
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        at_us = _at(scheduled.last_transition_time, 0, _UNSCHEDULED)
        yield Stage(at_us, "pending", _text(scheduled.reason, scheduled.message))
    if pod.status.start_time is not None:
        yield Stage(_at(pod.status.start_time, 0, _TAKEN_ON), "pulling")
        yield from _init_stages(pod, rules)


def _init_stages(pod: Pod, rules: Rules) -> Iterable[Stage]:
    """Yield what init containers do: those that download, then those that do something else."""
    sidecars = {each.name for each in pod.spec.init_containers if each.restart_policy == "Always"}
    statuses = {each.name: each for each in pod.status.init_container_statuses}
    names = [each.name for each in pod.spec.init_containers if each.name not in sidecars]
    downloads = [any(fnmatchcase(name, pattern) for pattern in rules.downloads) for name in names]
    for index, name in enumerate(names):
        status = statuses.get(name)
        started = None if status is None else _started_at(status)
        if status is None or started is None:
            continue
        ended = status.state.terminated or status.last_state.terminated
        has_failed = status.state.running is None and ended is not None and ended.exit_code != 0
        if downloads[index]:
            yield Stage(_at(started, 0, _DOWNLOADS), "downloading", f"init container {name}")
            if ended is not None and ended.exit_code == 0:
                yield Stage(_at(ended.finished_at, 0, _PULLS_ON), "pulling")
        elif not any(downloads[index:]):  # what comes before a download leaves the state as it is
            yield Stage(_at(started, 0, _STARTED), "initializing", f"init container {name}")
        if has_failed and ended is not None and not is_over(pod):
            at_us = _at(ended.finished_at, status.restart_count, _ENDED)
            yield Stage(
                at_us, "failed", f"init container {name}: {_ending(ended, status)}"[:MAX_REASON_LENGTH]
            )


def _runs(pod: Pod, serving: Sequence[ContainerStatus]) -> Iterable[Stage]:
    """Yield the starts and ends of the serving containers, as far as their statuses remember them."""
    stages: list[Stage] = []
    first_starts: list[int] = []
    down: list[Stage] = []
    asked_us = _deletion_us(pod)
    for status in serving:
        began_us: list[int] = []
        for run, ended in _known_ends(status):
            began_us.append(_at(ended.started_at, run, _STARTED))
            end = Stage(
                _at(ended.finished_at, run, _ENDED),
                "failed" if ended.exit_code or ended.signal else "terminated",
                _ending(ended, status),
            )
            is_last = ended is status.state.terminated or status.state.waiting is not None
            if is_last and (is_over(pod) or (asked_us is not None and end.at_us >= asked_us)):
                continue  # the pod's end, which is told as such
            stages.append(end)
            if is_last:
                down.append(end)
        if status.state.running is not None:
            began_us.append(_at(status.state.running.started_at, status.restart_count, _STARTED))
        first_starts += began_us[:1]
        stages += [Stage(at_us, "initializing") for at_us in began_us[1:]]
    if serving and len(first_starts) == len(serving):
        stages.append(Stage(max(first_starts), "initializing"))
    stages.sort(key=lambda stage: stage.at_us)
    # While one container is down, another one's restart changes nothing.
    return [*stages, *down[-1:]] if down and stages[-1].state == "initializing" else stages


def _known_ends(status: ContainerStatus) -> Iterable[tuple[int, Ended]]:
    """Yield the runs that are known to have ended, oldest first, with their numbers."""
    last, count = status.last_state.terminated, status.restart_count
    if last is not None:
        is_newest = status.state.running is None and status.state.terminated is None
        yield (count if is_newest else max(count - 1, 0)), last
    if status.state.terminated is not None:
        yield count, status.state.terminated


def _stuck(pod: Pod, now_us: int) -> Iterable[Stage]:
    """Yield the failure of a container that cannot be made: its image, its configuration. It has no time."""
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = status.state.waiting
        if waiting is not None and waiting.reason not in _GOING_ON:
            yield Stage(
                _written_us(pod, now_us), "failed", _text(waiting.reason, waiting.message), timed=False
            )
            return


def _departure(pod: Pod, serving: Sequence[ContainerStatus], run: int, now_us: int) -> Iterable[Stage]:
    """Yield how the pod leaves: by itself, asked to, or lost with its node."""
    asked_us = _deletion_us(pod)
    endings = [status.state.terminated for status in serving if status.state.terminated is not None]
    all_ended = bool(serving) and len(endings) == len(serving)
    end_us = max((_at(each.finished_at, run, _ENDED) for each in endings), default=0) or _disrupted_us(
        pod, run
    )
    timed, end_us = end_us > 0, end_us or _written_us(pod, now_us)
    worst = next((each for each in endings if each.exit_code or each.signal), None)
    why = "" if worst is None else _reason_of_end(worst)
    if is_over(pod) and (asked_us is None or end_us < asked_us):  # what is deleted later had ended before
        has_failed = pod.status.phase == "Failed"
        why = (_text(pod.status.reason, pod.status.message) or why) if has_failed else why
        yield Stage(end_us, "failed" if has_failed else "terminated", why, timed=timed)
        return
    if asked_us is None:
        return
    draining_us = asked_us + min(run, _MOST_RESTARTS) * _STEPS + _DELETED
    if pod.status.reason == "NodeLost":
        yield Stage(draining_us, "failed", _text("NodeLost", pod.status.message))
    elif any(status.state.running is not None for status in serving) or (endings and end_us >= asked_us):
        yield Stage(draining_us, "draining", _deletion_reason(pod))
    if all_ended or is_over(pod):
        yield Stage(max(end_us, asked_us), "terminated", why, timed=timed)


def _disrupted_us(pod: Pod, run: int) -> int:
    disrupted = condition(pod, "DisruptionTarget")
    return 0 if disrupted is None else _at(disrupted.last_transition_time, run, _ENDED)


def _deletion_us(pod: Pod) -> int | None:
    """Return when the pod's deletion was asked for: the API keeps that plus the grace period."""
    until = pod.metadata.deletion_timestamp
    if until is None:
        return None
    return _second_us(until - timedelta(seconds=pod.metadata.deletion_grace_period_seconds or 0))


def _deletion_reason(pod: Pod) -> str:
    disrupted = condition(pod, "DisruptionTarget")
    if disrupted is None or disrupted.status != "True":
        return "deleted"
    return _text(disrupted.reason, disrupted.message)


def _leaves_before(pod: Pod, ready: Condition) -> bool:
    """Whether the pod was to be deleted when it became unready: it is unready because it leaves."""
    asked_us = _deletion_us(pod)
    changed = ready.last_transition_time
    return asked_us is not None and changed is not None and _second_us(changed) >= asked_us


def _was_ready(ready: Condition, started: Sequence[datetime]) -> bool:
    """Whether a pod that is not ready was so since its containers started: then this changed after it."""
    changed = ready.last_transition_time
    return changed is not None and bool(started) and changed > max(started)


def _serving(pod: Pod, rules: Rules) -> list[ContainerStatus]:
    """Return the statuses of the containers that make the replica; as many as there are containers, or none."""
    wanted = [each.name for each in pod.spec.containers if not rules.serving or each.name in rules.serving]
    statuses = {each.name: each for each in pod.status.container_statuses}
    found = [statuses[name] for name in wanted if name in statuses]
    return found if len(found) == len(wanted) else []


def _started_at(status: ContainerStatus) -> datetime | None:
    for one in (status.state.running, status.state.terminated, status.last_state.terminated):
        if one is not None and one.started_at is not None:
            return one.started_at
    return None


def _ending(ended: Ended, status: ContainerStatus) -> str:
    waiting = status.state.waiting
    if waiting is not None and waiting.reason == "CrashLoopBackOff":
        return f"CrashLoopBackOff after {_reason_of_end(ended)}"[:MAX_REASON_LENGTH]
    return _reason_of_end(ended)


def _reason_of_end(ended: Ended) -> str:
    how = f"signal {ended.signal}" if ended.signal else f"exit code {ended.exit_code}"
    return _text(ended.reason, how)


def _said(what: str, why: Condition) -> str:
    return _text(what, _text(why.reason, why.message))


def _text(reason: str, message: str) -> str:
    return ": ".join(part for part in (reason, " ".join(message.split())) if part)[:MAX_REASON_LENGTH]


def _written_us(pod: Pod, now_us: int) -> int:
    """Return when the pod's status was last written; `now_us` where the server does not tell."""
    writers = pod.metadata.managed_fields or ()
    times = [each.time for each in writers if each.subresource == "status" and each.time is not None]
    return _at(max(times), 0, _ENDED) if times else now_us


def _at(moment: datetime | None, run: int, step: int) -> int:
    """Return microseconds since 1970; 0, which goes before everything, for a time that is not there."""
    if moment is None:
        return 0
    return _second_us(moment) + min(run, _MOST_RESTARTS) * _STEPS + step


def _second_us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def _in_order(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    ordered: list[Stage] = []
    for stage in stages:
        least_us = ordered[-1].at_us + 1 if ordered else 0
        at_us = max(stage.at_us, least_us)
        ordered.append(Stage(at_us, stage.state, stage.reason, stage.timed))
    return tuple(ordered)
