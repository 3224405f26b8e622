"""The pods of one namespace, as states to tell. It does no I/O: pods come in through its sink, messages go out through
`put`, and the clock is an argument.

A replica is known by the name it is told under. Of several pods with one name the newest one speaks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from endpoint_analytics.agents.kubernetes.containers import Rules, lacks_server
from endpoint_analytics.agents.kubernetes.endpoints import Endpoints
from endpoint_analytics.agents.kubernetes.naming import NoNameError, Replica
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.recall import Recalled
from endpoint_analytics.agents.kubernetes.reported import SECOND_US, Reporter
from endpoint_analytics.agents.kubernetes.stage import Stage
from endpoint_analytics.agents.kubernetes.watching import Sink
from endpoint_analytics.schemas.replicas import ReplicaState


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """A pod as it was last seen, the replica that it is, and since when it is that (0: from its beginning on)."""

    replica: Replica
    pod: Pod
    joined_us: int


_Concerned = dict[Replica, _Member | None]
"""Replicas of which there is something to tell, and the pod that one lost."""


class PodWatcher:
    """Tells `put` each state and the name of the pod. `recalled` is what was told before; `now_us` gives the time in
    microseconds; `selecting` are the labels that choose pods: who is given one, joins then."""

    def __init__(
        self,
        endpoints: Endpoints,
        rules: Rules,
        recalled: Recalled,
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
        self._uids: dict[Replica, set[str]] = {}
        self._recalled = recalled.living()
        for replica, (told, _) in recalled.replicas.items():
            self._reporter.recall(replica, told)

    @property
    def pods(self) -> int:
        """Pods that are told of."""
        return len(self._pods)

    def sink(self, settled: Callable[[], None]) -> Sink[Pod]:
        """Return where pods go; `settled` is called when it is known which there are."""
        return Sink(self._pods_listed, self._pod_changed, self._pod_removed, settled)

    def has(self, name: str) -> bool:
        """Return whether a pod of that name is told of."""
        return any(each.pod.metadata.name == name for each in self._pods.values())

    def vanished(self) -> dict[Replica, str]:
        """Return the replicas that were told before and have no pod now, with the pods' names; after the first list.
        Unless we have a pod of that name, it is to be asked for: it may be another selector's. Then `confirm_gone`."""
        return {replica: pod for replica, pod in self._recalled.items() if replica not in self._uids}

    def confirm_gone(self, replica: Replica) -> None:
        """The pod of a replica that was told before is no more."""
        if replica not in self._uids:
            pod = self._recalled.get(replica, "")
            self._put_all(
                replica, self._reporter.missing(replica, self._now_us(), "gone while nobody watched"), pod
            )

    def tick(self) -> None:
        """Tell again what has lasted; to be called a few times a minute."""
        self._tell(dict.fromkeys(self._uids))

    def _pods_listed(self, found: list[Pod]) -> None:
        listed = {pod.metadata.uid for pod in found}
        concerned: _Concerned = {}
        for uid in sorted(self._pods.keys() - listed, key=lambda uid: _age(self._pods[uid].pod)):
            concerned |= self._take_out(uid)
        for pod in sorted(found, key=_age):
            concerned |= self._put_in(pod)
        self._tell(concerned)

    def _pod_changed(self, pod: Pod) -> None:
        self._tell(self._put_in(pod))

    def _pod_removed(self, pod: Pod) -> None:
        known = self._pods.get(pod.metadata.uid)
        if known is not None:
            self._take_out(pod.metadata.uid)
            self._tell({known.replica: dataclasses.replace(known, pod=_as_first_asked(pod, known.pod))})

    def _put_in(self, pod: Pod) -> _Concerned:
        concerned: _Concerned = {}
        uid, replica = pod.metadata.uid, self._replica_of(pod)
        known = self._pods.get(uid)
        joined_us = self._endpoints.naming.joined_us(pod, self._selecting)
        if known is not None:
            if known.replica == replica:
                joined_us = max(joined_us, known.joined_us)
            else:  # labelled anew
                concerned |= self._take_out(uid)
                if joined_us <= known.joined_us:  # by whom, the server does not say
                    joined_us = self._now_us() // SECOND_US * SECOND_US
        if replica is not None:
            if why := lacks_server(pod, self._rules):
                self._endpoints.say_once(f"a pod of {replica.endpoint} is pending for ever: {why}")
            pod = pod if known is None else _as_first_asked(pod, known.pod)
            self._pods[uid] = _Member(replica, pod, joined_us)
            self._uids.setdefault(replica, set()).add(uid)
            concerned[replica] = None
        return concerned

    def _take_out(self, uid: str) -> _Concerned:
        member = self._pods.pop(uid)
        uids = self._uids[member.replica]
        uids.remove(uid)
        if not uids:
            del self._uids[member.replica]
        return {member.replica: member}

    def _replica_of(self, pod: Pod) -> Replica | None:
        """Return whose pod it is; None, and said once, for one that is left out."""
        try:
            replica = self._endpoints.naming.replica_of(pod)
        except NoNameError as error:
            self._endpoints.say_once(f"the pod {pod.metadata.name} is left out: {error}")
            return None
        return replica if self._endpoints.admit(replica.endpoint) else None

    def _tell(self, concerned: _Concerned) -> None:
        for replica, lost in concerned.items():
            uids = self._uids.get(replica)
            if uids:
                newest = max((self._pods[uid] for uid in uids), key=lambda each: _age(each.pod))
                tell = self._reporter.observe
            elif lost is not None:
                newest, tell = lost, self._reporter.gone
            else:
                continue
            stages = tell(replica, newest.pod, self._now_us(), newest.joined_us)
            self._put_all(replica, stages, newest.pod.metadata.name)

    def _put_all(self, replica: Replica, stages: list[Stage], pod: str) -> None:
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
    """Return what puts pods in the order in which they were made, the same one for all agents."""
    return str(pod.metadata.creation_timestamp), pod.metadata.uid


def _as_first_asked(pod: Pod, before: Pod) -> Pod:
    """Return the pod with its first deletion request: a later one, and the kubelet's when all has ended, moves it."""
    first = before.metadata
    if first.deletion_timestamp is None:
        return pod
    metadata = replace(
        pod.metadata,
        deletion_timestamp=first.deletion_timestamp,
        deletion_grace_period_seconds=first.deletion_grace_period_seconds,
    )
    return replace(pod, metadata=metadata)
