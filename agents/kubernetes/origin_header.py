"""The origin of a message on the replicas topic, in a Kafka header: cluster, Kubernetes namespace and pod.

The worker ignores it. It shows a later process of this agent which replicas this one reported, and must therefore end:
others of the same endpoint may run elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from endpoint_analytics.schemas.topics import ORIGIN_HEADER

HEADER = ORIGIN_HEADER


@dataclass(frozen=True, slots=True)
class Origin:
    """A Kubernetes namespace in a cluster; `cluster` is a name chosen by the user, empty if there is only one."""

    cluster: str
    namespace: str

    def header_of(self, pod: str) -> bytes:
        """Return the header for a message about a pod, or, with an empty name, about an endpoint."""
        return f"{self.cluster}/{self.namespace}/{pod}".encode()

    def pod_of(self, header: bytes) -> str | None:
        """Return the pod's name; None if it belongs to another namespace or cluster."""
        origin, _, pod = header.decode(errors="replace").rpartition("/")
        return pod if origin == f"{self.cluster}/{self.namespace}" else None
