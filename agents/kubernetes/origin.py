"""Where a message of the replicas topic comes from, in a Kafka header: a pod of a Kubernetes namespace of a cluster.

The worker does not look at it. It tells our later processes which replicas were told by this agent, and are theirs to
end: others of the same endpoint may run elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

HEADER = "kubernetes-pod"


@dataclass(frozen=True, slots=True)
class Origin:
    """The Kubernetes namespace of a cluster; `cluster` is a name of the user's own, empty where there is one alone."""

    cluster: str
    namespace: str

    def header_of(self, pod: str) -> bytes:
        """Return the header for what is told of a pod, or with an empty name of an endpoint."""
        return f"{self.cluster}/{self.namespace}/{pod}".encode()

    def pod_of(self, header: bytes) -> str | None:
        """Return the pod's name; None when it is of another namespace or cluster."""
        where, _, pod = header.decode(errors="replace").rpartition("/")
        return pod if where == f"{self.cluster}/{self.namespace}" else None
