"""A Grafana dashboard as data, and its JSON: rows of panels become ids and places. Pure.

Nothing here knows a metric, a table or a data source; the format is Grafana's classic dashboard model, which Grafana 11
and later read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["timeseries", "stat", "state-timeline", "table"]

SCHEMA_VERSION = 41
COLUMNS = 24
"""Width of Grafana's grid."""
PALETTE: Mapping[str, str] = {
    "blue": "#0072B2",
    "green": "#009E73",
    "grey": "#999999",
    "orange": "#E69F00",
    "purple": "#CC79A7",
    "red": "#D55E00",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
}
"""Okabe and Ito's colours, which colour-blind people can tell apart."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query in the language of the data source, and the legend of its series."""

    text: str
    legend: str = ""
    is_instant: bool = False
    """Only the newest value, or a table."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph, number or table. `description` says what the number means; widths are columns of 24."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    maximum: float | None = None
    is_stacked: bool = False
    thresholds: tuple[tuple[float, str], ...] = ()
    """Values from which on a colour holds; below the first one it is green."""
    colours: tuple[tuple[str, str], ...] = ()
    """Colour by legend."""
    dashed: tuple[str, ...] = ()
    """Legends of lines that are limits, not measurements."""
    states: tuple[tuple[str, str], ...] = ()
    """Name and colour of the values 0, 1 ..."""
    series_name: str = ""
    """Name of each series, if a query has no legend: `${__field.labels.x}`."""
    units: tuple[tuple[str, str], ...] = ()
    """Unit by column of a table."""


@dataclass(frozen=True, slots=True)
class Row:
    """A titled row of panels. A folded one shows its panels, and asks their queries, only once it is opened."""

    title: str
    panels: tuple[Panel, ...]
    is_folded: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top, filled by a query. `query` is text or an object, as the data source wants it."""

    name: str
    label: str
    query: str | Json
    has_all: bool = False
    all_value: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard on one data source. `uid` is part of its address, and must stay."""

    uid: str
    title: str
    description: str
    source: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    query_fields: Json = field(default_factory=dict)
    """What each query has besides its text, by the data source's format."""
    text_field: str = "expr"
    min_interval: str = ""
    tags: tuple[str, ...] = ("endpoint-analytics",)


def dashboard_json(dashboard: Dashboard) -> Json:
    """Return the dashboard as Grafana imports and provisions it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": list(dashboard.tags),
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "refresh": "30s",
        "links": [
            {
                "title": "Endpoint Analytics",
                "type": "dashboards",
                "icon": "external link",
                "tooltip": "",
                "tags": list(dashboard.tags),
                "asDropdown": True,
                "targetBlank": False,
                "includeVars": False,
                "keepTime": True,
            }
        ],
        "annotations": {"list": []},
        "templating": {"list": _variables(dashboard)},
        "panels": _panels(dashboard),
    }


def _source(dashboard: Dashboard) -> Json:
    return {"type": dashboard.source, "uid": "${datasource}"}


def _variables(dashboard: Dashboard) -> list[Json]:
    found: list[Json] = [
        {
            "type": "datasource",
            "name": "datasource",
            "label": "Data source",
            "query": dashboard.source,
            "refresh": 1,
            "regex": "",
            "includeAll": False,
            "multi": False,
            "hide": 0,
            "skipUrlSync": False,
            "allowCustomValue": True,
            "options": [],
            "auto": False,
            "auto_min": "10s",
            "auto_count": 30,
        }
    ]
    for each in dashboard.variables:
        variable: Json = {
            "type": "query",
            "name": each.name,
            "label": each.label,
            "datasource": _source(dashboard),
            "query": each.query,
            "refresh": 2,
            "sort": 1,
            "regex": "",
            "includeAll": each.has_all,
            "multi": each.has_all,
            "hide": 0,
            "skipUrlSync": False,
            "allowCustomValue": True,
            "options": [],
            "auto": False,
            "auto_min": "10s",
            "auto_count": 30,
        }
        if each.has_all:
            variable["current"] = {"selected": True, "text": ["All"], "value": ["$__all"]}
        if each.all_value:
            variable["allValue"] = each.all_value
        found.append(variable)
    return found


def _panels(dashboard: Dashboard) -> list[Json]:
    """Return all panels, each row's from left to right, and below each other when it is full.

    Panels of a folded row are inside it, at their places after opening it, and take no place before.
    """
    found: list[Json] = []
    number = y = 0
    for row in dashboard.rows:
        number += 1
        inside: list[Json] = []
        found.append(
            {
                "type": "row",
                "id": number,
                "title": row.title,
                "collapsed": row.is_folded,
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
                "panels": inside,
            }
        )
        y += 1
        top = y
        x = height = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            number += 1
            (inside if row.is_folded else found).append(_panel(dashboard, panel, number, place))
            x, height = x + panel.width, max(height, panel.height)
        y = top if row.is_folded else y + height
    return found


def _panel(dashboard: Dashboard, panel: Panel, number: int, place: Json) -> Json:
    found: Json = {
        "type": panel.kind,
        "id": number,
        "title": panel.title,
        "description": panel.description,
        "gridPos": place,
        "datasource": _source(dashboard),
        "targets": [
            _target(dashboard, query, ref, panel)
            for ref, query in zip("ABCDEFGH", panel.queries, strict=False)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
    }
    if dashboard.min_interval:
        found["interval"] = dashboard.min_interval
    return found


def _target(dashboard: Dashboard, query: Query, ref: str, panel: Panel) -> Json:
    target: Json = {"refId": ref, "datasource": _source(dashboard), dashboard.text_field: query.text}
    if dashboard.text_field == "expr":
        target |= {"editorMode": "code", "range": not query.is_instant, "instant": query.is_instant}
        target["format"] = "table" if panel.kind == "table" else "time_series"
        if query.legend:
            target["legendFormat"] = query.legend
    else:
        target |= {
            "format": int(query.is_instant),
            "queryType": "table" if query.is_instant else "timeseries",
        }
    return target | dashboard.query_fields


def _defaults(panel: Panel) -> Json:
    steps: list[Json] = [{"value": None, "color": PALETTE["green"]}]
    steps += [{"value": value, "color": PALETTE[colour]} for value, colour in panel.thresholds]
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if panel.kind in ("stat", "state-timeline") else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "stat":
        defaults["noValue"] = "unknown"
    if panel.kind == "table":
        defaults["noValue"] = "none"
    if panel.kind == "timeseries":
        defaults["min"] = 0
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if panel.is_stacked else 0,
            "showPoints": "auto",
            "spanNulls": False,  # what is unknown is a gap
            "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
        }
    if panel.kind == "state-timeline":
        defaults["custom"] = {"fillOpacity": 80, "lineWidth": 0}
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.series_name:
        defaults["displayName"] = panel.series_name
    if panel.states:
        options = {
            str(value): {"text": name, "color": PALETTE[colour], "index": value}
            for value, (name, colour) in enumerate(panel.states)
        }
        defaults["mappings"] = [{"type": "value", "options": options}]
    return defaults


def _overrides(panel: Panel) -> list[Json]:
    properties: dict[str, list[Json]] = {}
    for legend, colour in panel.colours:
        fixed = {"mode": "fixed", "fixedColor": PALETTE[colour]}
        properties.setdefault(legend, []).append({"id": "color", "value": fixed})
    for legend in panel.dashed:
        style = {"fill": "dash", "dash": [8, 6]}
        properties.setdefault(legend, []).append({"id": "custom.lineStyle", "value": style})
        if panel.is_stacked:
            properties[legend].append({"id": "custom.stacking", "value": {"mode": "none", "group": "A"}})
    for column, unit in panel.units:
        properties.setdefault(column, []).append({"id": "unit", "value": unit})
    return [
        {"matcher": {"id": "byName", "options": name}, "properties": found}
        for name, found in properties.items()
    ]


def _options(panel: Panel) -> Json:
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    match panel.kind:
        case "timeseries":
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        case "stat":
            return {
                "graphMode": "area" if not any(query.is_instant for query in panel.queries) else "none",
                "colorMode": "value",
                "justifyMode": "auto",
                "textMode": "auto",
                "wideLayout": True,
                "showPercentChange": False,
                "percentChangeColorMode": "standard",
                "orientation": "auto",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            }
        case "state-timeline":
            return {
                "showValue": "auto",
                "rowHeight": 0.8,
                "mergeValues": True,
                "alignValue": "left",
                "legend": legend,
                "tooltip": {"mode": "single", "sort": "none"},
            }
        case "table":
            return {
                "showHeader": True,
                "frameIndex": 0,
                "cellHeight": "sm",
                "showTypeIcons": False,
                "footer": {"show": False, "reducer": ["sum"], "countRows": False},
            }
