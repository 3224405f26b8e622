"""What was told of each replica, and what of its pod's life is new. Pure: `now_us` and pods in, messages out.

What is told of one replica rises in time, whatever the clocks of the machines say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from endpoint_analytics.agents.kubernetes.containers import Rules
from endpoint_analytics.agents.kubernetes.departure import is_over
from endpoint_analytics.agents.kubernetes.naming import Replica
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.pod_life import reason_of_going, stages_of
from endpoint_analytics.agents.kubernetes.stage import Stage
from endpoint_analytics.schemas.replicas import State

LATE_US = 47 * 3_600_000_000
"""What is older is not told any more: the worker refuses what is 48 h late. Instead the present state is."""

AGAIN_US = 6 * 3_600_000_000
"""A state that lasts is told again so often: what nobody speaks of for a day is taken for gone."""

AGAIN_FAILED_US = 240_000_000
"""The same of a pod that fails and is kept: a failed replica departs after 5 min."""

SECOND_US = 1_000_000
EARLY_US = SECOND_US
"""What lies further ahead of now, by a node's clock, is told as of then. (A moment may lie late in its second.)"""

MAX_ENDED = 10_000
"""Replicas that have ended and are remembered, so that a name that is used again goes on in time."""


@dataclass(frozen=True, slots=True)
class Reported:
    """The last that was told of a replica. `uid` is its pod's and `pod_us` when that was by the pod's own word; empty
    and 0 when it was read back from the topic."""

    at_us: int
    state: State
    reason: str = ""
    uid: str = ""
    pod_us: int = 0

    def by_pod(self, uid: str) -> int:
        """Return up to when a pod was told of, by its own word, in microseconds."""
        return self.pod_us if uid == self.uid else self.at_us


class Reporter:
    """Knows each replica's last told state. Every method returns the stages to tell, in order."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._told: dict[Replica, Reported] = {}
        self._ended: OrderedDict[Replica, Reported] = OrderedDict()

    def recall(self, replica: Replica, told: Reported) -> None:
        """Take up what another process of ours told."""
        self._told[replica] = told

    def told(self, replica: Replica) -> Reported | None:
        """Return what was told last of it."""
        return self._told.get(replica) or self._ended.get(replica)

    def observe(self, replica: Replica, pod: Pod, now_us: int, joined_us: int = 0) -> list[Stage]:
        """The pod is as it is: tell what is new of its life, since it joined its endpoint."""
        last, uid = self.told(replica), pod.metadata.uid
        if last is not None and last.state == "terminated" and last.uid in {"", uid} and is_over(pod):
            return []  # it has ended, however its end looks later
        stages = _since(joined_us, stages_of(pod, self._rules, now_us))
        present = stages[-1]
        if last is None:
            new = _risen(stages, 0, now_us)
        elif _is_clearer(present, last, uid):
            new = [replace(present, at_us=last.at_us)]
        else:
            new = _risen(_new(stages, last, uid, now_us), last.at_us, now_us)
        if not is_over(pod):
            new += _again(present, new[-1] if new else last, now_us)
        self._keep(replica, new, uid, present.at_us)
        return new

    def gone(self, replica: Replica, pod: Pod, now_us: int, joined_us: int = 0) -> list[Stage]:
        """The pod was deleted, or left its endpoint; `pod` is its last known state. Report the rest, and its end."""
        new = self.observe(replica, pod, now_us, joined_us)
        reason = reason_of_going(pod, self._rules, now_us)
        if reason is not None:
            new += self.missing(replica, now_us, reason)
        self._retire(replica)
        return new

    def missing(self, replica: Replica, now_us: int, reason: str) -> list[Stage]:
        """Nothing is left of the replica, and nobody saw it go: it has ended by now."""
        last = self.told(replica)
        if last is None:
            return []
        end = Stage(max(now_us, last.at_us + 1), "terminated", reason, timed=False)
        self._keep(replica, [end], last.uid, last.pod_us)
        return [end]

    def _keep(self, replica: Replica, stages: Sequence[Stage], uid: str, pod_us: int) -> None:
        if not stages:
            return
        last = stages[-1]
        self._ended.pop(replica, None)
        self._told[replica] = Reported(last.at_us, last.state, last.reason, uid, pod_us)
        if last.state == "terminated":
            self._retire(replica)

    def _retire(self, replica: Replica) -> None:
        told = self._told.pop(replica, None)
        if told is not None:
            self._ended[replica] = told
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)


def _since(joined_us: int, stages: Sequence[Stage]) -> Sequence[Stage]:
    """Return the stages after the second that begins at `joined_us`, and the one that it was in by then."""
    before = [stage for stage in stages if joined_us and stage.at_us < joined_us + SECOND_US]
    first = [replace(before[-1], at_us=joined_us)] if before else []
    return [*first, *stages[len(before) :]]


def _is_clearer(present: Stage, last: Reported, uid: str) -> bool:
    """Whether it is the moment that was told last, of which more is known now: it takes that one's place."""
    is_same = (present.state, present.at_us) == (last.state, last.by_pod(uid))
    return is_same and present.timed and present.reason != last.reason


def _new(stages: Sequence[Stage], last: Reported, uid: str, now_us: int) -> Sequence[Stage]:
    """Return the stages that were not told, as the pod gives them; `stages` are in order and not empty."""
    present = stages[-1]
    new = [stage for stage in stages if stage.at_us > last.by_pod(uid)]
    if not new and present.state != last.state:
        # Reported with a later time than Kubernetes now gives; a replica that had ended is there again from now on.
        return [replace(present, at_us=now_us) if last.state == "terminated" else present]
    if present.state == last.state and not any(stage.timed for stage in new):
        return []  # it has no time of its own, and was told
    return new


def _risen(stages: Sequence[Stage], last_us: int, now_us: int) -> list[Stage]:
    """Return the stages that are not too old, each later than the one before, and none in the future."""
    risen: list[Stage] = []
    for stage in stages:
        if stage.at_us < now_us - LATE_US:
            continue
        last_us = max(min(stage.at_us, now_us + EARLY_US), last_us + 1)
        risen.append(replace(stage, at_us=last_us))
    return risen


def _again(present: Stage, last: Stage | Reported | None, now_us: int) -> list[Stage]:
    """Return the present state, at a moment that all agents agree on, when it was told long ago or never."""
    every_us = AGAIN_FAILED_US if present.state == "failed" else AGAIN_US
    at_us = now_us - now_us % every_us
    if present.state == "terminated" or present.at_us > at_us or (last is not None and last.at_us >= at_us):
        return []
    reason = last.reason if last is not None and last.state == present.state else present.reason
    return [Stage(at_us, present.state, reason)]
