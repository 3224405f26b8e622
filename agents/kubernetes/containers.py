"""Turns a pod's containers into stages: the serving ones, run by run, and the preparing ones. Pure.

A container's status has its current run and how the previous one ended. Earlier runs are lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase

from endpoint_analytics.agents.kubernetes.objects import ContainerStatus, Ended, Pod
from endpoint_analytics.agents.kubernetes.pod_end import deletion_us, is_over, written_us
from endpoint_analytics.agents.kubernetes.stage import Stage, Step, moment_us, reason_text


@dataclass(frozen=True, slots=True)
class Rules:
    """Which containers count. `serving`: names, empty for all but sidecars. `downloads`: init container patterns."""

    serving: frozenset[str] = frozenset()
    downloads: tuple[str, ...] = ("storage-initializer", "*download*")


def serving_of(pod: Pod, rules: Rules) -> list[ContainerStatus]:
    """Return the statuses of the serving containers; of all of them, or an empty list."""
    wanted = [each.name for each in pod.spec.containers if not rules.serving or each.name in rules.serving]
    statuses = {each.name: each for each in pod.status.container_statuses}
    found = [statuses[name] for name in wanted if name in statuses]
    return found if len(found) == len(wanted) else []


def lacks_server(pod: Pod, rules: Rules) -> str:
    """Return why a pod can never serve: it has no serving container. Empty if it can."""
    names = [each.name for each in pod.spec.containers]
    if not rules.serving or not names or not rules.serving.isdisjoint(names):
        return ""
    return f"--container is {', '.join(sorted(rules.serving))}, but its containers are {', '.join(names)}"


def started_at(status: ContainerStatus) -> datetime | None:
    """Return when its current or last run started; None before the first."""
    for one in (status.state.running, status.state.terminated, status.last_state.terminated):
        if one is not None and _has_started(one.started_at):
            return one.started_at
    return None


def prepared(pod: Pod, rules: Rules) -> Iterable[Stage]:
    """Yield the stages of init containers: those that download, then the others."""
    sidecars = _sidecars(pod)
    statuses = {each.name: each for each in pod.status.init_container_statuses}
    names = [each.name for each in pod.spec.init_containers if each.name not in sidecars]
    downloads = [any(fnmatchcase(name, pattern) for pattern in rules.downloads) for name in names]
    for index, name in enumerate(names):
        status = statuses.get(name)
        started = None if status is None else started_at(status)
        if status is None or started is None:
            continue
        what = f"init container {name}"
        if downloads[index]:
            yield Stage(moment_us(started, 0, Step.DOWNLOAD_STARTED), "downloading", what)
        elif not any(downloads[index:]):  # containers before a download do not change the state
            yield Stage(moment_us(started, 0, Step.STARTED), "initializing", what)
        ended = _current_end(status)
        if ended is not None and ended.exit_code == 0 and downloads[index]:
            yield Stage(moment_us(ended.finished_at, 0, Step.DOWNLOAD_ENDED), "pulling")


def unprepared(pod: Pod) -> list[Stage]:
    """Return the failures of init containers and sidecars that keep the pod from serving, ordered by time.

    A sidecar's failure counts until the servers have started: from then on, readiness shows its effect.
    """
    sidecars = _sidecars(pod)
    serves = any(started_at(status) is not None for status in pod.status.container_statuses)
    found: list[Stage] = []
    for status in pod.status.init_container_statuses:
        ended = _current_end(status)
        is_sidecar = status.name in sidecars
        if ended is None or ended.finished_at is None or not ended.exit_code or (is_sidecar and serves):
            continue
        what = f"sidecar {status.name}" if is_sidecar else f"init container {status.name}"
        at_us = moment_us(ended.finished_at, status.restart_count, Step.ENDED)
        found.append(Stage(at_us, "failed", reason_text(what, _ending(ended, status))))
    return sorted(found, key=lambda stage: stage.at_us)


def served(pod: Pod, serving: Sequence[ContainerStatus], now_us: int) -> list[Stage]:
    """Return the starts and ends of the serving containers that their statuses still contain."""
    stages: list[Stage] = []
    first_starts: list[int] = []
    down: list[Stage] = []
    for status in serving:
        starts_us: list[int] = []
        for run, ended in _known_ends(status):
            if _has_started(ended.started_at):
                starts_us.append(moment_us(ended.started_at, run, Step.STARTED))
            end = _end_of_run(run, ended, status)
            is_last = ended is status.state.terminated or status.state.waiting is not None
            if ended.finished_at is None:  # the kubelet had lost track of the container
                end = replace(end, at_us=written_us(pod, now_us), timed=False)
            if (is_last and is_the_pods(end, pod)) or not (is_last or ended.finished_at):
                continue
            stages.append(end)
            down += [end] if is_last else []
        if status.state.running is not None:
            starts_us.append(moment_us(status.state.running.started_at, status.restart_count, Step.STARTED))
        first_starts += starts_us[:1]
        stages += [Stage(at_us, "initializing") for at_us in starts_us[1:]]
    if serving and len(first_starts) == len(serving):
        stages.append(Stage(max(first_starts), "initializing"))
    stages.sort(key=lambda stage: stage.at_us)
    if down and stages[-1].state == "initializing":  # the start of another container does not help
        stages.append(replace(down[-1], at_us=stages[-1].at_us))
    return stages


def reason_of_end(ended: Ended) -> str:
    """Return why and how a container ended: `OOMKilled: exit code 137`."""
    return reason_text(
        ended.reason, f"signal {ended.signal}" if ended.signal else f"exit code {ended.exit_code}"
    )


def _known_ends(status: ContainerStatus) -> Iterable[tuple[int, Ended]]:
    """Yield the ended runs, oldest first, with their numbers."""
    last, count = status.last_state.terminated, status.restart_count
    if last is not None:
        is_newest = status.state.running is None and status.state.terminated is None
        yield (count if is_newest else max(count - 1, 0)), last
    if status.state.terminated is not None:
        yield count, status.state.terminated


def _end_of_run(run: int, ended: Ended, status: ContainerStatus) -> Stage:
    has_failed = bool(ended.exit_code or ended.signal)
    at_us = moment_us(ended.finished_at, run, Step.ENDED)
    return Stage(at_us, "failed" if has_failed else "terminated", _ending(ended, status))


def is_the_pods(end: Stage, pod: Pod) -> bool:
    """Return whether a container's end is part of the pod's end, which is reported separately."""
    requested_us = deletion_us(pod)
    return is_over(pod) or (requested_us is not None and end.at_us >= requested_us)


def _current_end(status: ContainerStatus) -> Ended | None:
    """Return how its last run ended; None before that, and while it is running again."""
    return None if status.state.running else status.state.terminated or status.last_state.terminated


def _has_started(moment: datetime | None) -> bool:
    """Whether a run started: runtimes report 1970 for a container that they could not start."""
    return moment is not None and moment.timestamp() > 0


def _sidecars(pod: Pod) -> frozenset[str]:
    return frozenset(each.name for each in pod.spec.init_containers if each.restart_policy == "Always")


def _ending(ended: Ended, status: ContainerStatus) -> str:
    waiting = status.state.waiting
    backs_off = waiting is not None and waiting.reason == "CrashLoopBackOff"
    return f"CrashLoopBackOff after {reason_of_end(ended)}" if backs_off else reason_of_end(ended)
