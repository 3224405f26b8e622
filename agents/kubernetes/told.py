"""What was told of each replica, and what of its pod's life is new. Pure: `now_us` and pods in, messages out.

A replica is known by the name it is told under. Of several pods with one name the newest one speaks, as it is when a
StatefulSet makes a pod anew. What is told of one replica rises in time, whatever the clocks of the machines say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from endpoint_analytics.agents.kubernetes.containers import Rules
from endpoint_analytics.agents.kubernetes.departure import is_over
from endpoint_analytics.agents.kubernetes.naming import Replica
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.pod_life import end_of, stages_of
from endpoint_analytics.agents.kubernetes.stage import Stage
from endpoint_analytics.schemas.replicas import State

LATE_US = 47 * 3_600_000_000
"""What is older is not told any more: the worker refuses what is 48 h late. Instead the present state is."""

AGAIN_US = 6 * 3_600_000_000
"""A state that lasts is told again so often: what nobody speaks of for a day is taken for gone."""

AGAIN_FAILED_US = 240_000_000
"""The same of a pod that fails and is kept: a failed replica departs after 5 min."""

EARLY_US = 1_000_000
"""What lies further ahead, by a node's clock, is told as of then. (A moment may lie late in its second.)"""

MAX_ENDED = 10_000
"""Replicas that have ended and are remembered, so that a name that is used again goes on in time."""


@dataclass(frozen=True, slots=True)
class Told:
    """The last that was told of a replica; `uid` is its pod's, empty when it was read back from the topic."""

    at_us: int
    state: State
    reason: str = ""
    uid: str = ""
    created_us: int = 0


class Teller:
    """Knows each replica's last told state. Every method returns the stages to tell, in order."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._told: dict[Replica, Told] = {}
        self._ended: OrderedDict[Replica, Told] = OrderedDict()

    def recall(self, replica: Replica, told: Told) -> None:
        """Take up what another process of ours told."""
        self._told[replica] = told

    def told(self, replica: Replica) -> Told | None:
        """Return what was told last of it."""
        return self._told.get(replica) or self._ended.get(replica)

    def observe(self, replica: Replica, pod: Pod, now_us: int) -> list[Stage]:
        """The pod is as it is: tell what is new of its life."""
        last, uid, created_us = self.told(replica), pod.metadata.uid, _created_us(pod)
        if last is not None and last.uid != uid and created_us < last.created_us:
            return []  # an older pod of the name: the newer one speaks
        if last is not None and last.state == "terminated" and last.uid in {"", uid} and is_over(pod):
            return []  # it has ended, however its end looks later
        stages = [_by(stage, now_us + EARLY_US) for stage in stages_of(pod, self._rules, now_us)]
        new = [stage for stage in _new(stages, last, uid, now_us) if stage.at_us >= now_us - LATE_US]
        if not is_over(pod):
            new += _again(stages[-1], new[-1] if new else last, now_us)
        self._keep(replica, new, uid, created_us)
        return new

    def gone(self, replica: Replica, pod: Pod, now_us: int) -> list[Stage]:
        """The pod is no more: it was as `pod` is, and is told to its end."""
        last = self.told(replica)
        if last is not None and last.uid not in {"", pod.metadata.uid}:
            return []
        new = self.observe(replica, pod, now_us)
        end = end_of(pod, self._rules, now_us)
        if end is not None:
            new += self.missing(replica, now_us, end.reason)
        self._retire(replica)
        return new

    def missing(self, replica: Replica, now_us: int, reason: str) -> list[Stage]:
        """Nothing is left of the replica, and nobody saw it go: it has ended by now."""
        last = self.told(replica)
        if last is None:
            return []
        end = Stage(max(now_us, last.at_us + 1), "terminated", reason, timed=False)
        self._keep(replica, [end], last.uid, last.created_us)
        return [end]

    def replicas(self) -> tuple[Replica, ...]:
        """Return those that have not ended."""
        return tuple(self._told)

    def forget(self) -> None:
        """What was told may be lost: all is to be told again, which changes nothing where it was not."""
        self._told.clear()
        self._ended.clear()

    def _keep(self, replica: Replica, stages: Sequence[Stage], uid: str, created_us: int) -> None:
        if not stages:
            return
        last = stages[-1]
        self._ended.pop(replica, None)
        self._told[replica] = Told(last.at_us, last.state, last.reason, uid, created_us)
        if last.state == "terminated":
            self._retire(replica)

    def _retire(self, replica: Replica) -> None:
        told = self._told.pop(replica, None)
        if told is not None:
            self._ended[replica] = told
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)


def _new(stages: Sequence[Stage], last: Told | None, uid: str, now_us: int) -> list[Stage]:
    """Return the stages that were not told, each later than what was; `stages` are in order and not empty."""
    if last is None:
        return list(stages)
    present = stages[-1]
    is_other_pod = last.uid not in {"", uid}
    new = [stage for stage in stages if is_other_pod or stage.at_us > last.at_us]
    if not new and present.state != last.state:
        # Told with a later time than Kubernetes now gives; a replica that had ended is there again from now on.
        new = [replace(present, at_us=now_us if last.state == "terminated" else present.at_us)]
    elif not new and present.at_us == last.at_us and present.reason != last.reason and present.timed:
        return [present]  # the same moment, of which more is known: it takes the place of what was told
    elif present.state == last.state and not is_other_pod and not any(stage.timed for stage in new):
        return []  # it has no time of its own, and was told
    risen: list[Stage] = []
    at_us = last.at_us
    for stage in new:
        at_us = max(stage.at_us, at_us + 1)
        risen.append(replace(stage, at_us=at_us))
    return risen


def _by(stage: Stage, latest_us: int) -> Stage:
    return stage if stage.at_us <= latest_us else replace(stage, at_us=latest_us, timed=False)


def _again(present: Stage, last: Stage | Told | None, now_us: int) -> list[Stage]:
    """Return the present state, at a moment that all agents agree on, when it was told long ago or never."""
    every_us = AGAIN_FAILED_US if present.state == "failed" else AGAIN_US
    at_us = now_us - now_us % every_us
    if present.state == "terminated" or present.at_us > at_us or (last is not None and last.at_us >= at_us):
        return []
    reason = last.reason if last is not None and last.state == present.state else present.reason
    return [Stage(at_us, present.state, reason)]


def _created_us(pod: Pod) -> int:
    created = pod.metadata.creation_timestamp
    return 0 if created is None else int(created.timestamp()) * 1_000_000
