"""Lines of JSON to what they say of a request: Envoy, Caddy, Traefik. Pure; one function a format.

A parser returns None for a line that does not fit (or raises ValueError), Unfit where it can say why, and OTHER or
OUTGOING for one that is no request's of this replica.
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

_ENVOY_LEFT = frozenset({"DC", "DR"})
_ENVOY_BROKEN = frozenset({"DPE", "UC", "UR", "UT", "UMSDR", "LR", "SI", "UPE", "OM"})
# https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage (ACCESS_LOG_TYPE): of the
# lines of one request this is the one at its end; without the field there is only one.
_ENVOY_ENDS = frozenset({"", "-", "NotSet", "DownstreamEnd"})
_ENVOY_HTTP_FIELDS = ("method", "path", "protocol")
# Istio's names of clusters; `inbound|8000||` and InboundPassthroughCluster are the replica's own port.
_ISTIO_OUTGOING = ("outbound|", "outbound_.", "PassthroughCluster", "BlackHoleCluster")
_NOTHING = frozenset({"", "-"})


def parse_envoy(line: str) -> Logged | Other | None:
    """Envoy's JSON lines with start_time, duration, response_duration, response_code and response_flags.

    Where response_duration is absent, upstream_service_time (Istio's) stands in for it. A flag of a break counts
    when an answer had begun: before that Envoy answers itself, whole, with a status of 400 or above. What a sidecar
    writes of the calls that its replica makes is OUTGOING; TCP connections and lines of a request's start are OTHER.
    """
    fields = _read_object(line) or {}
    found = _of_envoy(fields)
    is_outgoing = _text(fields.get("upstream_cluster")).startswith(_ISTIO_OUTGOING)
    return OUTGOING if is_outgoing and isinstance(found, Logged) else found


def parse_istio_gateway(line: str) -> Logged | Other | None:
    """The same of a gateway, all of whose requests go out to the servers behind it."""
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
    if status is None:  # the client left before there was one
        return Logged(None, end_us, duration_us, is_aborted=True, target=target)
    flags = set(_text(fields.get("response_flags")).split(","))
    has_begun = wait_us is not None or status < 400
    is_aborted = bool(flags & _ENVOY_LEFT) or (has_begun and bool(flags & _ENVOY_BROKEN))
    return Logged(status, end_us, duration_us, wait_us, is_aborted, target)


def parse_caddy(line: str) -> Logged | Other | Unfit | None:
    """Caddy's JSON access log: ts, duration, status and uri. It does not tell the wait, nor answers cut short."""
    fields = _read_object(line)
    if fields is not None and not str(fields.get("logger", "http.log.access")).startswith("http.log.access"):
        return OTHER
    if fields is None or "status" not in fields or "ts" not in fields or "duration" not in fields:
        return None
    duration = fields["duration"]
    if isinstance(duration, int | float) and duration and float(duration).is_integer():
        # Seconds have nine digits behind the point, so this is none of them.
        return Unfit(
            f"duration is {duration:g}, a whole number: milliseconds or nanoseconds, nobody knows which. Take "
            "duration_format out of Caddy's log settings (it is seconds by default), or set it to string"
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

    It does not tell the wait, nor answers cut short. What its own routers answer (ping, metrics, the dashboard) is no
    request of the model's, and its other log may stand in the same file.
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
    """Whether nothing of a request stands in the line, though it has the fields for it."""
    told = [_text(fields[name]) for name in _ENVOY_HTTP_FIELDS if name in fields]
    return bool(told) and _NOTHING.issuperset(told)


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
