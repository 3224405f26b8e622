"""Whose replica a pod is: its endpoint and its name, from what the options say and what the pod is labelled. Pure."""

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


class Replica(NamedTuple):
    """A replica of an endpoint in our namespace."""

    endpoint: str
    replica_id: str


class NoNameError(Exception):
    """The pod or workload does not say whose it is, in a name that may be used: the message says why."""


@dataclass(frozen=True, slots=True)
class Naming:
    """The endpoint is `endpoint`, or what the label `endpoint_label` says; `replica_from` gives the replica's name.

    Raises ConfigurationError when these cannot be.
    """

    endpoint: str = ""
    endpoint_label: str = ""
    replica_from: str = "name"

    def __post_init__(self) -> None:
        if bool(self.endpoint) == bool(self.endpoint_label):
            raise ConfigurationError("one of --endpoint and --endpoint-label is needed, and only one")
        if self.endpoint:
            try:
                check_name("endpoint", self.endpoint)
            except InvalidMessageError as error:
                raise ConfigurationError(error.detail) from error
        kind, _, key = self.replica_from.partition(":")
        if not (self.replica_from in {"name", "uid"} or (kind in {"label", "annotation"} and key)):
            raise ConfigurationError(f"--replica-from is {self.replica_from!r}; it takes {REPLICA_FROM}")

    def replica_of(self, pod: Pod) -> Replica:
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
        return Replica(endpoint, _checked("replica_id", found))

    def joined_us(self, pod: Pod, selecting: Iterable[str]) -> int:
        """Return since when the pod is labelled as it is, in microseconds; 0 for from its beginning on.

        That is when one wrote its endpoint's label, or one of the `selecting` keys, who did not make the pod.
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
        """Return the endpoint of what is labelled so; raises NoNameError."""
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
