"""Whose requests a resource's spans are: namespace, endpoint and replica from its attributes. Pure.

What the receiver's options fix is never taken from the attributes, so a sender cannot claim another's namespace.
https://opentelemetry.io/docs/specs/semconv/resource/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name
from endpoint_analytics.schemas.limits import MAX_NAME_LENGTH

REPLICA_ATTRIBUTES = ("service.instance.id", "k8s.pod.name", "host.name")
"""The first that is there names the replica."""
ATTRIBUTES = frozenset({"service.namespace", "service.name", *REPLICA_ATTRIBUTES})

_UNKNOWN_SERVICE = "unknown_service"
"""What SDKs call a service without a name, alone or followed by `:` and the process's."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


class Identity(NamedTuple):
    """One replica."""

    namespace: str
    endpoint: str
    replica_id: str


class Fixed(NamedTuple):
    """What the receiver's options fix, "" for what the resource decides.

    `replica_id` is only for resources that name no replica.
    """

    namespace: str = ""
    endpoint: str = ""
    replica_id: str = ""


def identify(attributes: Mapping[str, str], fixed: Fixed) -> Identity | str:
    """Return the replica of a resource, or the reason why its spans are rejected."""
    namespace = fixed.namespace or attributes.get("service.namespace", "")
    if not namespace:
        return "no_namespace"
    endpoint = fixed.endpoint or attributes.get("service.name", "")
    if not endpoint or (not fixed.endpoint and endpoint.partition(":")[0] == _UNKNOWN_SERVICE):
        return "no_endpoint"
    named = next((text for name in REPLICA_ATTRIBUTES if (text := attributes.get(name, ""))), "")
    replica_id = _as_name(named) or fixed.replica_id
    if not replica_id:
        return "no_replica"
    try:
        check_name("namespace", namespace)
        check_name("endpoint", endpoint)
    except InvalidMessageError:
        return "bad_name"
    return Identity(namespace, endpoint, replica_id)


def _as_name(text: str) -> str:
    """Return the text as a valid name, as for host names: other characters become dashes."""
    return _NOT_IN_NAMES.sub("-", text)[:MAX_NAME_LENGTH].strip("._-")
