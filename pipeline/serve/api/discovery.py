"""Service discovery for Prometheus: endpoints as scrape targets, in the format of `http_sd_configs`.

Source of the format: prometheus.io/docs/prometheus/latest/http_sd. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct, field

from endpoint_analytics.pipeline.store.scope import Key

_TARGET = re.compile(r"[A-Za-z0-9._\-\[\]:]{1,255}")


def is_address(text: str) -> bool:
    """Whether the text may be a target: a host, with or without a port."""
    return _TARGET.fullmatch(text) is not None


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
