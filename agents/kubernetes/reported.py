"""What was reported for each replica, and what is new in its pod's life. Pure: `now_us` and pods in, stages out.

Reported times of one replica strictly increase, whatever the machines' clocks say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from endpoint_analytics.agents.kubernetes.containers import Rules
from endpoint_analytics.agents.kubernetes.naming import NamedReplica
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.pod_end import is_over
from endpoint_analytics.agents.kubernetes.pod_life import reason_of_going, stages_of
from endpoint_analytics.agents.kubernetes.stage import Stage
from endpoint_analytics.schemas.replicas import State

LATE_US = 47 * 3_600_000_000
"""Older states are not reported, since the worker rejects messages more than 48 h late; the current state is."""

AGAIN_US = 6 * 3_600_000_000
"""How often a lasting state is reported again: a replica without reports for a day is considered gone."""

AGAIN_FAILED_US = 240_000_000
"""The same for a pod that stays failed: a failed replica is considered gone after 5 min."""

SECOND_US = 1_000_000
EARLY_US = SECOND_US
"""Times further ahead, by a node's clock, are reported as only this far ahead. (A time may be late in its second.)"""

MAX_ENDED = 10_000
"""Most ended replicas remembered, so that times keep increasing when a name is reused."""


@dataclass(frozen=True, slots=True)
class Reported:
    """The last report of a replica. `uid` is its pod's, and `pod_us` the time according to the pod; empty and 0 if the
    report was read back from the topic."""

    at_us: int
    state: State
    reason: str = ""
    uid: str = ""
    pod_us: int = 0

    def by_pod(self, uid: str) -> int:
        """Return the time, according to the pod, up to which it was reported, in microseconds."""
        return self.pod_us if uid == self.uid else self.at_us


class Reporter:
    """Knows each replica's last reported state. Its methods return the stages to report, in order."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._reported: dict[NamedReplica, Reported] = {}
        self._ended: OrderedDict[NamedReplica, Reported] = OrderedDict()

    def recall(self, replica: NamedReplica, reported: Reported) -> None:
        """Restore what an earlier process of this agent reported."""
        self._reported[replica] = reported

    def reported(self, replica: NamedReplica) -> Reported | None:
        """Return the replica's last report."""
        return self._reported.get(replica) or self._ended.get(replica)

    def observe(self, replica: NamedReplica, pod: Pod, now_us: int, joined_us: int = 0) -> list[Stage]:
        """Return the new stages of the pod's life since it joined its endpoint."""
        last, uid = self.reported(replica), pod.metadata.uid
        if last is not None and last.state == "terminated" and last.uid in {"", uid} and is_over(pod):
            return []  # it has ended, even if its end looks different later
        stages = _since(joined_us, stages_of(pod, self._rules, now_us))
        current = stages[-1]
        if last is None:
            new = _increasing(stages, 0, now_us)
        elif _is_clearer(current, last, uid):
            new = [replace(current, at_us=last.at_us)]
        else:
            new = _increasing(_new(stages, last, uid, now_us), last.at_us, now_us)
        if not is_over(pod):
            new += _again(current, new[-1] if new else last, now_us)
        self._keep(replica, new, uid, current.at_us)
        return new

    def gone(self, replica: NamedReplica, pod: Pod, now_us: int, joined_us: int = 0) -> list[Stage]:
        """The pod was deleted, or left its endpoint; `pod` is its last known state. Report the rest, and its end."""
        new = self.observe(replica, pod, now_us, joined_us)
        reason = reason_of_going(pod, self._rules, now_us)
        if reason is not None:
            new += self.missing(replica, now_us, reason)
        self._retire(replica)
        return new

    def missing(self, replica: NamedReplica, now_us: int, reason: str) -> list[Stage]:
        """The replica disappeared unseen: report that it has ended by now."""
        last = self.reported(replica)
        if last is None:
            return []
        end = Stage(max(now_us, last.at_us + 1), "terminated", reason, timed=False)
        self._keep(replica, [end], last.uid, last.pod_us)
        return [end]

    def _keep(self, replica: NamedReplica, stages: Sequence[Stage], uid: str, pod_us: int) -> None:
        if not stages:
            return
        last = stages[-1]
        self._ended.pop(replica, None)
        self._reported[replica] = Reported(last.at_us, last.state, last.reason, uid, pod_us)
        if last.state == "terminated":
            self._retire(replica)

    def _retire(self, replica: NamedReplica) -> None:
        last = self._reported.pop(replica, None)
        if last is not None:
            self._ended[replica] = last
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)


def _since(joined_us: int, stages: Sequence[Stage]) -> Sequence[Stage]:
    """Return the stages after the second that starts at `joined_us`, preceded by the one that was current then."""
    before = [stage for stage in stages if joined_us and stage.at_us < joined_us + SECOND_US]
    first = [replace(before[-1], at_us=joined_us)] if before else []
    return [*first, *stages[len(before) :]]


def _is_clearer(current: Stage, last: Reported, uid: str) -> bool:
    """Whether it is the last reported stage with a better reason, which replaces the previous one."""
    is_same = (current.state, current.at_us) == (last.state, last.by_pod(uid))
    return is_same and current.timed and current.reason != last.reason


def _new(stages: Sequence[Stage], last: Reported, uid: str, now_us: int) -> Sequence[Stage]:
    """Return the stages that were not reported, with the pod's times; `stages` are in order and not empty."""
    current = stages[-1]
    new = [stage for stage in stages if stage.at_us > last.by_pod(uid)]
    if not new and current.state != last.state:
        # Reported with a later time than Kubernetes now gives; a replica that had ended exists again from now on.
        return [replace(current, at_us=now_us) if last.state == "terminated" else current]
    if current.state == last.state and not any(stage.timed for stage in new):
        return []  # it has no time of its own, and was already reported
    return new


def _increasing(stages: Sequence[Stage], last_us: int, now_us: int) -> list[Stage]:
    """Return the stages that are not too old, with strictly increasing times, none of them in the future."""
    increasing: list[Stage] = []
    for stage in stages:
        if stage.at_us < now_us - LATE_US:
            continue
        last_us = max(min(stage.at_us, now_us + EARLY_US), last_us + 1)
        increasing.append(replace(stage, at_us=last_us))
    return increasing


def _again(current: Stage, last: Stage | Reported | None, now_us: int) -> list[Stage]:
    """Return the current state, at a time that all agents agree on, if it was reported long ago or never."""
    every_us = AGAIN_FAILED_US if current.state == "failed" else AGAIN_US
    at_us = now_us - now_us % every_us
    if current.state == "terminated" or current.at_us > at_us or (last is not None and last.at_us >= at_us):
        return []
    reason = last.reason if last is not None and last.state == current.state else current.reason
    return [Stage(at_us, current.state, reason)]
