"""Parses JSON access log lines: Envoy, Caddy, Traefik. Pure; one function per format.

A parser returns None for a line that does not match (or raises ValueError), Unfit if it can say why, and OTHER or
OUTGOING for a line that is not a request to this replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from endpoint_analytics.agents.log.logged import (
    OTHER,
    OUTGOING,
    Logged,
    Other,
    Unfit,
    parse_go_duration_us,
    parse_time_us,
    read_status,
    scaled_us,
)

_ENVOY_CLIENT_LEFT = frozenset({"DC", "DR"})
_ENVOY_CUT_SHORT = frozenset({"DPE", "UC", "UR", "UT", "UMSDR", "LR", "SI", "UPE", "OM"})
# https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage (ACCESS_LOG_TYPE): of
# several lines for one request, this is the last; without the field there is only one.
_ENVOY_ENDS = frozenset({"", "-", "NotSet", "DownstreamEnd"})
_ENVOY_HTTP_FIELDS = ("method", "path", "protocol")
# Istio's cluster names; `inbound|8000||` and InboundPassthroughCluster are the replica's own port.
_ISTIO_OUTGOING = ("outbound|", "outbound_.", "PassthroughCluster", "BlackHoleCluster")
_NOTHING = frozenset({"", "-"})


def parse_envoy(line: str) -> Logged | Other | None:
    """Envoy's JSON lines with start_time, duration, response_duration, response_code and response_flags.

    If response_duration is missing, upstream_service_time (Istio) is used instead. A flag for a broken response counts
    only if the response had started: before that, Envoy itself sends a complete response with a status of 400 or above.
    A sidecar's lines about calls that its replica makes are OUTGOING; TCP connections and lines for a request's start
    are OTHER.
    """
    fields = _read_object(line) or {}
    found = _of_envoy(fields)
    is_outgoing = _text(fields.get("upstream_cluster")).startswith(_ISTIO_OUTGOING)
    return OUTGOING if is_outgoing and isinstance(found, Logged) else found


def parse_istio_gateway(line: str) -> Logged | Other | None:
    """The same for a gateway, where all requests go out to the servers behind it."""
    return _of_envoy(_read_object(line) or {})


def _of_envoy(fields: Mapping[str, Any]) -> Logged | Other | None:
    if "response_code" not in fields or "start_time" not in fields:
        return None
    status = read_status(fields["response_code"])
    if _text(fields.get("access_log_type")) not in _ENVOY_ENDS or (status is None and _is_tcp(fields)):
        return OTHER
    duration_us = scaled_us(_text(fields.get("duration")), 1_000) or 0
    wait = fields.get("response_duration", fields.get("upstream_service_time"))
    wait_us = scaled_us(_text(wait), 1_000)
    end_us = parse_time_us(str(fields["start_time"])) + duration_us
    target = _text(fields["path"]) if "path" in fields else None
    if status is None:  # the client left before the status
        return Logged(None, end_us, duration_us, is_aborted=True, target=target)
    flags = set(_text(fields.get("response_flags")).split(","))
    has_started = wait_us is not None or status < 400
    is_aborted = bool(flags & _ENVOY_CLIENT_LEFT) or (has_started and bool(flags & _ENVOY_CUT_SHORT))
    return Logged(status, end_us, duration_us, wait_us, is_aborted, target)


def parse_caddy(line: str) -> Logged | Other | Unfit | None:
    """Caddy's JSON access log: ts, duration, status and uri. It has neither the wait nor truncated responses."""
    fields = _read_object(line)
    if fields is not None and not str(fields.get("logger", "http.log.access")).startswith("http.log.access"):
        return OTHER
    if fields is None or "status" not in fields or "ts" not in fields or "duration" not in fields:
        return None
    duration = fields["duration"]
    if isinstance(duration, int | float) and duration and float(duration).is_integer():
        # Seconds have nine decimal places, so this number is not in seconds.
        return Unfit(
            f"duration is {duration:g}, a whole number: it may be milliseconds or nanoseconds. Remove "
            "duration_format from Caddy's log settings (the default is seconds), or set it to string"
        )
    status = read_status(fields["status"])
    end_us = parse_time_us(str(fields["ts"]))
    duration_us = (
        parse_go_duration_us(duration) if _is_go_duration(duration) else scaled_us(str(duration), 1_000_000)
    )
    request = fields.get("request")
    target = _text(request["uri"]) if isinstance(request, dict) and "uri" in request else None
    return Logged(status, end_us, duration_us, is_aborted=status is None, target=target)


def parse_traefik(line: str) -> Logged | Other | None:
    """Traefik's JSON access log: DownstreamStatus, Duration (nanoseconds), StartUTC, RequestPath.

    It has neither the wait nor truncated responses. Requests to Traefik's own routers (ping, metrics, the dashboard) do
    not reach the model, and its application log may be in the same file.
    """
    fields = _read_object(line)
    if fields is None or "DownstreamStatus" not in fields or "Duration" not in fields:
        return OTHER if fields is not None and "level" in fields else None
    if _text(fields.get("RouterName")).endswith("@internal"):
        return OTHER
    status = read_status(fields["DownstreamStatus"])
    duration_us = scaled_us(str(fields["Duration"]), 1e-3)
    start = fields.get("StartUTC") or fields.get("StartLocal")
    end_us = parse_time_us(str(start)) + (duration_us or 0) if start else parse_time_us(str(fields["time"]))
    target = _text(fields["RequestPath"]) if "RequestPath" in fields else None
    return Logged(status, end_us, duration_us, is_aborted=status is None, target=target)


def _is_tcp(fields: Mapping[str, Any]) -> bool:
    """Whether the line has the fields of an HTTP request, but all are empty."""
    values = [_text(fields[name]) for name in _ENVOY_HTTP_FIELDS if name in fields]
    return bool(values) and _NOTHING.issuperset(values)


def _is_go_duration(duration: object) -> bool:
    return isinstance(duration, str) and duration[-1:].isalpha()


def _read_object(line: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _text(value: object) -> str:
    return "" if value is None else str(value)
