"""Turns the pods of one namespace into states to report. It does no I/O: pods come in through its sink, messages go out
through `put`, and the clock is an argument.

A replica is identified by the name it is reported under. Of several pods with the same name, the newest counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from endpoint_analytics.agents.kubernetes.containers import Rules, lacks_server
from endpoint_analytics.agents.kubernetes.endpoints import KnownEndpoints
from endpoint_analytics.agents.kubernetes.naming import NamedReplica, NoNameError
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.read_back import ReadBack
from endpoint_analytics.agents.kubernetes.reported import SECOND_US, Reporter
from endpoint_analytics.agents.kubernetes.stage import Stage
from endpoint_analytics.agents.kubernetes.watching import Sink
from endpoint_analytics.schemas.replicas import ReplicaState


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """A pod as last seen, its replica, and since when it has been that replica (0: since its creation)."""

    replica: NamedReplica
    pod: Pod
    joined_us: int


_Affected = dict[NamedReplica, _Member | None]
"""Replicas with something to report, and the pod that each lost, if any."""


class PodWatcher:
    """Calls `put` with each state and the pod's name.

    `recalled` is what was reported before; `now_us` returns the time in microseconds; `selecting` are the labels that
    select pods: a pod joins when it gets one.
    """

    def __init__(
        self,
        endpoints: KnownEndpoints,
        rules: Rules,
        recalled: ReadBack,
        put: Callable[[ReplicaState, str], None],
        now_us: Callable[[], int],
        selecting: Iterable[str] = (),
    ) -> None:
        self._endpoints = endpoints
        self._put = put
        self._now_us = now_us
        self._selecting = tuple(selecting)
        self._rules = rules
        self._reporter = Reporter(rules)
        self._pods: dict[str, _Member] = {}
        self._uids: dict[NamedReplica, set[str]] = {}
        self._recalled = recalled.living()
        for replica, (reported, _) in recalled.replicas.items():
            self._reporter.recall(replica, reported)

    @property
    def pods(self) -> int:
        """Number of reported pods."""
        return len(self._pods)

    def sink(self, settled: Callable[[], None]) -> Sink[Pod]:
        """Return the sink for pods; `settled` is called once the pods are known."""
        return Sink(self._pods_listed, self._pod_changed, self._pod_removed, settled)

    def has(self, name: str) -> bool:
        """Return whether a pod of that name is reported."""
        return any(each.pod.metadata.name == name for each in self._pods.values())

    def vanished(self) -> dict[NamedReplica, str]:
        """Return the replicas that were reported before and have no pod now, with the pods' names. Call after the first
        list. Unless `has` finds a pod of that name, query it: it may match another selector. Then `confirm_gone`."""
        return {replica: pod for replica, pod in self._recalled.items() if replica not in self._uids}

    def confirm_gone(self, replica: NamedReplica) -> None:
        """The pod of a replica that was reported before no longer exists."""
        if replica not in self._uids:
            pod = self._recalled.get(replica, "")
            self._put_all(
                replica,
                self._reporter.missing(replica, self._now_us(), "deleted while no agent was watching"),
                pod,
            )

    def tick(self) -> None:
        """Report lasting states again; call this a few times a minute."""
        self._report(dict.fromkeys(self._uids))

    def _pods_listed(self, found: list[Pod]) -> None:
        listed = {pod.metadata.uid for pod in found}
        affected: _Affected = {}
        for uid in sorted(self._pods.keys() - listed, key=lambda uid: _age(self._pods[uid].pod)):
            affected |= self._remove(uid)
        for pod in sorted(found, key=_age):
            affected |= self._add(pod)
        self._report(affected)

    def _pod_changed(self, pod: Pod) -> None:
        self._report(self._add(pod))

    def _pod_removed(self, pod: Pod) -> None:
        known = self._pods.get(pod.metadata.uid)
        if known is not None:
            self._remove(pod.metadata.uid)
            self._report(
                {known.replica: dataclasses.replace(known, pod=_with_first_deletion(pod, known.pod))}
            )

    def _add(self, pod: Pod) -> _Affected:
        affected: _Affected = {}
        uid, replica = pod.metadata.uid, self._replica_of(pod)
        known = self._pods.get(uid)
        joined_us = self._endpoints.naming.joined_us(pod, self._selecting)
        if known is not None:
            if known.replica == replica:
                joined_us = max(joined_us, known.joined_us)
            else:  # its labels changed
                affected |= self._remove(uid)
                if joined_us <= known.joined_us:  # the server does not say when
                    joined_us = self._now_us() // SECOND_US * SECOND_US
        if replica is not None:
            if why := lacks_server(pod, self._rules):
                self._endpoints.say_once(f"a pod of {replica.endpoint} stays pending forever: {why}")
            pod = pod if known is None else _with_first_deletion(pod, known.pod)
            self._pods[uid] = _Member(replica, pod, joined_us)
            self._uids.setdefault(replica, set()).add(uid)
            affected[replica] = None
        return affected

    def _remove(self, uid: str) -> _Affected:
        member = self._pods.pop(uid)
        uids = self._uids[member.replica]
        uids.remove(uid)
        if not uids:
            del self._uids[member.replica]
        return {member.replica: member}

    def _replica_of(self, pod: Pod) -> NamedReplica | None:
        """Return the pod's replica; None, logged once, for a pod that is left out."""
        try:
            replica = self._endpoints.naming.replica_of(pod)
        except NoNameError as error:
            self._endpoints.say_once(f"the pod {pod.metadata.name} is left out: {error}")
            return None
        return replica if self._endpoints.admit(replica.endpoint) else None

    def _report(self, affected: _Affected) -> None:
        for replica, lost in affected.items():
            uids = self._uids.get(replica)
            if uids:
                newest = max((self._pods[uid] for uid in uids), key=lambda each: _age(each.pod))
                observe = self._reporter.observe
            elif lost is not None:
                newest, observe = lost, self._reporter.gone
            else:
                continue
            stages = observe(replica, newest.pod, self._now_us(), newest.joined_us)
            self._put_all(replica, stages, newest.pod.metadata.name)

    def _put_all(self, replica: NamedReplica, stages: list[Stage], pod: str) -> None:
        for stage in stages:
            message = ReplicaState(
                namespace=self._endpoints.namespace,
                endpoint=replica.endpoint,
                replica_id=replica.replica_id,
                at_us=stage.at_us,
                state=stage.state,
                reason=stage.reason,
            )
            self._put(message, pod)


def _age(pod: Pod) -> tuple[str, str]:
    """Return the sort key for creation order, the same for all agents."""
    return str(pod.metadata.creation_timestamp), pod.metadata.uid


def _with_first_deletion(pod: Pod, before: Pod) -> Pod:
    """Return the pod with its first deletion request: later ones, and the kubelet's at the end, change the time."""
    first = before.metadata
    if first.deletion_timestamp is None:
        return pod
    metadata = replace(
        pod.metadata,
        deletion_timestamp=first.deletion_timestamp,
        deletion_grace_period_seconds=first.deletion_grace_period_seconds,
    )
    return replace(pod, metadata=metadata)
