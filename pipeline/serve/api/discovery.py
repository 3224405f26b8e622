"""Service discovery for Prometheus: endpoints as scrape targets, in the format of `http_sd_configs`.

Source of the format: prometheus.io/docs/prometheus/latest/http_sd. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address

from msgspec import Struct, field

from endpoint_analytics.pipeline.store.scope import Key

_TARGET = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?", re.ASCII
)


def is_address(text: str) -> bool:
    """Whether the text may be a target: a host, with or without a port. One that is not would end the whole list."""
    found = _TARGET.fullmatch(text)
    if found is None or (found[2] is not None and not 0 < int(found[2]) <= 65_535):
        return False
    try:
        return found[1] is None or bool(IPv6Address(found[1]))
    except ValueError:
        return False


class TargetLabels(Struct, frozen=True):
    """The path to scrape, and labels that no exporter uses for itself."""

    metrics_path: str = field(name="__metrics_path__")
    endpoint_namespace: str
    endpoint_name: str


class TargetGroup(Struct, frozen=True):
    """One endpoint as a scrape target."""

    targets: list[str]
    labels: TargetLabels


def target_groups(endpoints: Iterable[Key], address: str) -> list[TargetGroup]:
    """Return a group for each endpoint; `address` is where the client reached this service (its Host header)."""
    return [
        TargetGroup([address], TargetLabels(f"/v2/endpoint/{namespace}/{name}/open-metrics", namespace, name))
        for namespace, name in endpoints
    ]
