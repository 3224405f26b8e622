"""The pods of one namespace, as states to tell. It does no I/O: pods come in through its sink, messages go out through
`put`, and the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from endpoint_analytics.agents.kubernetes.containers import Rules
from endpoint_analytics.agents.kubernetes.endpoints import Endpoints
from endpoint_analytics.agents.kubernetes.naming import NoNameError, Replica
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.recall import Recalled
from endpoint_analytics.agents.kubernetes.stage import Stage
from endpoint_analytics.agents.kubernetes.told import Teller
from endpoint_analytics.agents.kubernetes.watching import Sink
from endpoint_analytics.schemas.replicas import ReplicaState


class PodWatcher:
    """Tells `put` each state and the name of the pod. `recalled` is what was told before; `now_us` gives the time in
    microseconds."""

    def __init__(
        self,
        endpoints: Endpoints,
        rules: Rules,
        recalled: Recalled,
        put: Callable[[ReplicaState, str], None],
        now_us: Callable[[], int],
    ) -> None:
        self._endpoints = endpoints
        self._put = put
        self._now_us = now_us
        self._teller = Teller(rules)
        self._pods: dict[str, tuple[Replica, Pod]] = {}
        self._recalled = recalled.living()
        for replica, (told, _) in recalled.replicas.items():
            self._teller.recall(replica, told)

    @property
    def pods(self) -> int:
        """Pods that are told of."""
        return len(self._pods)

    def sink(self) -> Sink[Pod]:
        """Return where pods go."""
        return Sink(self._pods_listed, self._pod_changed, self._pod_removed, lambda: None)

    def vanished(self) -> dict[Replica, str]:
        """Return the replicas that were told before and whose pods are not there, with the pods' names; after the
        first list of pods. Each is to be asked for, and then `confirm_gone`: a pod may be another selector's."""
        there = {replica for replica, _ in self._pods.values()}
        return {replica: pod for replica, pod in self._recalled.items() if replica not in there}

    def confirm_gone(self, replica: Replica) -> None:
        """The pod of a replica that was told before is no more."""
        if all(replica != each for each, _ in self._pods.values()):
            pod = self._recalled.get(replica, "")
            self._tell(
                replica, self._teller.missing(replica, self._now_us(), "gone while nobody watched"), pod
            )

    def tick(self) -> None:
        """Tell again what has lasted; to be called a few times a minute."""
        for replica, pod in self._pods.values():
            self._observe(replica, pod)

    def _pods_listed(self, found: list[Pod]) -> None:
        listed = {pod.metadata.uid for pod in found}
        for replica, pod in [each for uid, each in self._pods.items() if uid not in listed]:
            self._forget(replica, pod)
        for pod in sorted(found, key=lambda pod: (str(pod.metadata.creation_timestamp), pod.metadata.name)):
            self._pod_changed(pod)

    def _pod_changed(self, pod: Pod) -> None:
        try:
            replica = self._endpoints.naming.replica_of(pod)
        except NoNameError as error:
            self._endpoints.say_once(f"the pod {pod.metadata.name} is left out: {error}")
            return
        known = self._pods.get(pod.metadata.uid)
        if known is not None and known[0] != replica:  # labelled anew: another replica now
            self._forget(*known)
        if not self._endpoints.admit(replica.endpoint):
            return
        pod = pod if known is None else _as_first_asked(pod, known[1])
        self._pods[pod.metadata.uid] = (replica, pod)
        self._observe(replica, pod)

    def _pod_removed(self, pod: Pod) -> None:
        known = self._pods.get(pod.metadata.uid)
        if known is not None:
            self._forget(known[0], _as_first_asked(pod, known[1]))

    def _observe(self, replica: Replica, pod: Pod) -> None:
        self._tell(replica, self._teller.observe(replica, pod, self._now_us()), pod.metadata.name)

    def _forget(self, replica: Replica, pod: Pod) -> None:
        self._pods.pop(pod.metadata.uid, None)
        self._tell(replica, self._teller.gone(replica, pod, self._now_us()), pod.metadata.name)

    def _tell(self, replica: Replica, stages: list[Stage], pod: str) -> None:
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
