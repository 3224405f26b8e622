"""Which replica a pod is: its endpoint and name, from the options and the pod's labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.stage import second_us
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name

REPLICA_FROM = "name, uid, label:KEY or annotation:KEY"


class NamedReplica(NamedTuple):
    """A replica of an endpoint in the agent's namespace."""

    endpoint: str
    replica_id: str


class NoNameError(Exception):
    """The pod or workload has no valid endpoint or replica name; the message says why."""


@dataclass(frozen=True, slots=True)
class Naming:
    """The endpoint is `endpoint`, or the value of the label `endpoint_label`; `replica_from` selects the replica name.

    Raises ConfigurationError if these are invalid.
    """

    endpoint: str = ""
    endpoint_label: str = ""
    replica_from: str = "name"

    def __post_init__(self) -> None:
        if bool(self.endpoint) == bool(self.endpoint_label):
            raise ConfigurationError("exactly one of --endpoint and --endpoint-label is required")
        if self.endpoint:
            try:
                check_name("endpoint", self.endpoint)
            except InvalidMessageError as error:
                raise ConfigurationError(error.detail) from error
        kind, _, key = self.replica_from.partition(":")
        if not (self.replica_from in {"name", "uid"} or (kind in {"label", "annotation"} and key)):
            raise ConfigurationError(f"--replica-from is {self.replica_from!r}: expected {REPLICA_FROM}")

    def replica_of(self, pod: Pod) -> NamedReplica:
        """Return the pod's replica; raises NoNameError."""
        metadata = pod.metadata
        endpoint = self.endpoint_of(metadata.labels or {})
        kind, _, key = self.replica_from.partition(":")
        found = {
            "name": metadata.name,
            "uid": metadata.uid,
            "label": (metadata.labels or {}).get(key),
            "annotation": (metadata.annotations or {}).get(key),
        }[kind]
        if not found:
            raise NoNameError(f"it has no {kind} {key}")
        return NamedReplica(endpoint, _checked("replica_id", found))

    def joined_us(self, pod: Pod, selecting: Iterable[str]) -> int:
        """Return since when the pod has its current labels, in microseconds; 0 if since its creation.

        That is when its endpoint label, or one of the `selecting` keys, was written by anyone but the pod's creator.
        """
        keys = {f"f:{key}" for key in (*selecting, self.endpoint_label) if key}
        times = [
            each.time
            for each in pod.metadata.managed_fields or ()
            if each.time is not None
            and each.fields.spec is None
            and keys & (each.fields.metadata.labels or {}).keys()
        ]
        return second_us(max(times)) if times else 0

    def endpoint_of(self, labels: Mapping[str, str]) -> str:
        """Return the endpoint of an object with these labels; raises NoNameError."""
        if self.endpoint:
            return self.endpoint
        found = labels.get(self.endpoint_label)
        if not found:
            raise NoNameError(f"it has no label {self.endpoint_label}")
        return _checked("endpoint", found)


def _checked(field: str, name: str) -> str:
    try:
        return check_name(field, name)
    except InvalidMessageError as error:
        raise NoNameError(error.detail) from error
