"""Every parameter of the HTTP interface: its name, place, schema and text, and the limits that the parser enforces.

Only data. A value that matches its schema is accepted by itself; what two values must have in common (`from` before
`to`, a `step` that is stored for the range) stands in their texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from endpoint_analytics.pipeline.serve.api.external_models import METRICS as EXTERNAL_METRICS
from endpoint_analytics.pipeline.serve.api.external_models import OTHER_PARAMETERS
from endpoint_analytics.pipeline.serve.api.models import GROUPS, PARTS
from endpoint_analytics.pipeline.serve.api.parse_times import MOMENT
from endpoint_analytics.pipeline.serve.scrape.selection import MAX_VALUES
from endpoint_analytics.schemas.identity import NAME
from endpoint_analytics.schemas.limits import MAX_NAME_LENGTH
from endpoint_analytics.schemas.metrics import HARDWARE_METRICS

Parameter = dict[str, Any]

MAX_POINTS = 2000
DEFAULT_POINTS = 300
MAX_STEP_S = 400 * 86_400
HARDWARE = tuple(metric.name for metric in HARDWARE_METRICS)
ENGINE_METRIC = "engine_[a-z0-9_]{1,56}"
METRIC_FAMILY = "[a-zA-Z_:][a-zA-Z0-9_:]{0,254}"

_END = r"(?!\n)$"
"""`$` alone also matches before a final line feed in some engines."""
_NAMED = {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH, "pattern": f"^{NAME}{_END}"}
_MOMENTS = (
    "ISO 8601 (UTC without an offset), Unix seconds, or relative: `now`, `now-15m`, `now-6h`, `now-30d`"
)


def _listed(*items: str) -> dict[str, Any]:
    """Return the schema of a comma-separated list, which may be empty; each item is a regular expression."""
    one = f"(?:{'|'.join(items)})"
    return {"type": "string", "pattern": f"^(?:{one}(?:,{one})*)?{_END}"}


def _moment(**more: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{MOMENT}{_END}", **more}


def _path(name: str, schema: dict[str, Any], text: str, example: str) -> Parameter:
    return {"name": name, "in": "path", "required": True, "description": text} | {
        "schema": schema,
        "example": example,
    }


def _query(name: str, schema: dict[str, Any], text: str, example: object = None, **more: object) -> Parameter:
    found: Parameter = {"name": name, "in": "query", "required": False, "description": text, **more}
    return found | {"schema": schema} | ({} if example is None else {"example": example})


def _selected(name: str, schema: dict[str, Any], text: str) -> Parameter:
    """Return a parameter that may be given several times."""
    several = {"type": "array", "items": schema, "maxItems": MAX_VALUES}
    return _query(name, several, text, style="form", explode=True)


_SELECTOR = "|".join((f"endpoint==?{NAME}(?:,namespace==?{NAME})?", f"namespace==?{NAME},endpoint==?{NAME}"))

PARAMETERS: dict[str, Parameter] = {
    "namespace": _path("namespace", _NAMED, "Namespace of the endpoint", "acme"),
    "name": _path("name", _NAMED, "Name of the endpoint", "llm"),
    "from": _query(
        "from", _moment(default="now-15m"), f"Start of the range, before `to`: {_MOMENTS}", "now-1h"
    ),
    "to": _query("to", _moment(default="now"), f"End of the range: {_MOMENTS}", "now"),
    "step": _query(
        "step",
        {"type": "integer", "minimum": 1, "maximum": MAX_STEP_S},
        "Seconds per step; rounded up to a stored window length (10 s, 1 min, 1 h). Too fine a one is a 400",
        60,
    ),
    "points": _query(
        "points",
        {"type": "integer", "minimum": 1, "maximum": MAX_POINTS, "default": DEFAULT_POINTS},
        "Approximate number of steps if `step` is absent",
        60,
    ),
    "replica": _query(
        "replica",
        {"type": "string", "maxLength": MAX_NAME_LENGTH, "pattern": f"^(?:{NAME})?{_END}"},
        "One replica's id; absent or empty: all replicas. `unassigned`: requests held while none runs",
    ),
    "series": _query(
        "series",
        {**_listed(*GROUPS), "default": "requests,pending,latency"},
        f"Groups of series, comma-separated; empty: none. Of {', '.join(GROUPS)}",
        "requests,latency",
    ),
    "include": _query(
        "include",
        {**_listed(*PARTS), "default": ""},
        f"Additional parts, comma-separated. Of {', '.join(PARTS)}",
        "summary",
    ),
    "by": _query(
        "by",
        {"type": "string", "enum": ["class", "status"], "default": "class"},
        "How the group `requests` is split: by class (2xx) or by status (200)",
    ),
    "details": _query(
        "details",
        {"type": "boolean", "default": False},
        "Hardware and engine metrics of each replica (and device) instead of the average",
    ),
    "metrics": _query(
        "metrics",
        _listed(*HARDWARE, ENGINE_METRIC),
        "Metrics of the groups `hardware` and `engine`, comma-separated; absent or empty: all",
        "cpu_percent,gpu_percent",
    ),
    "since": _query(
        "since",
        {"type": "string", "pattern": f"^(?:{MOMENT})?{_END}"},
        f"Only steps from this moment on, for live updates: {_MOMENTS}",
    ),
    "metric": _path(
        "metric", {"type": "string", "enum": list(EXTERNAL_METRICS)}, "Metric", "pending_per_replica"
    ),
    "labelSelector": {
        **_query(
            "labelSelector",
            {"type": "string", "pattern": f"^(?:{_SELECTOR}){_END}"},
            "`endpoint=NAME`, and `,namespace=NAME` if it differs from the path's",
            "endpoint=llm",
        ),
        "required": True,
    },
    "family": _selected(
        "name[]",
        {"type": "string", "pattern": f"^{METRIC_FAMILY}{_END}"},
        "Only these families, by their name or by that of a sample such as `http_requests_total`; absent: all",
    ),
    "endpoint_name": _selected("endpoint_name[]", _NAMED, "Only these endpoints; absent: all"),
    "replica_id": _selected(
        "replica_id[]",
        {"type": "string"},
        "Only these replicas; absent: all. An empty one leaves the families of whole endpoints",
    ),
} | {
    name: _query(name, {"type": "string"}, "Ignored; clients of Kubernetes add it to their requests")
    for name in OTHER_PARAMETERS
}

RANGE = ("namespace", "name", "from", "to", "step", "points", "replica")
SERIES = (*RANGE, "series", "include", "by", "details", "metrics", "since")
ONE_SELECTION = ("family", "replica_id")
SELECTION = ("family", "endpoint_name", "replica_id")


def references(names: Iterable[str]) -> list[dict[str, str]]:
    """Return references to the components of these parameters."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]
