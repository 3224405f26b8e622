"""Access logs' formats: a line to what it says of a request. Pure; one function a format.

A parser returns None for a line that does not fit, and OTHER for one that is no request's. The log settings
that the formats need are in docs/instrument, each with the variables that its times come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from endpoint_analytics.agents.config import ConfigurationError
from endpoint_analytics.agents.log.logged import OTHER, Logged, Other, parse_time_us, scaled_us

Parser = Callable[[str], Logged | Other | None]

CLIENT_CLOSED = 499
"""nginx's word, taken up by Caddy, for a client that left before the status was sent."""

# log_format as docs/instrument/nginx.md gives it: the combined format and six fields.
_NGINX = re.compile(
    r'[^"]*"(?P<request>[^"]*)" (?P<status>\d{3}) \d+ "[^"]*" "[^"]*" '
    r"msec=(?P<end>[\d.]+) rt=(?P<duration>[\d.]+) uht=(?P<header>[-\d., :]+) urt=(?P<response>[-\d., :]+) "
    r"sent=(?P<sent>\d+) ok=(?P<ok>\w*)"
)
_UVICORN = re.compile(
    r'(?:.*?[\s\]])?[\w.:\[\]-]* - "[A-Z]+ (?P<target>\S+) HTTP/[\d.]+" (?P<status>[1-5]\d{2})(?: [\w\' -]*)?'
)
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_ENVOY_LEFT = frozenset({"DC", "DR"})
_ENVOY_BROKEN = frozenset({"DPE", "UC", "UR", "UT", "UMSDR", "LR", "SI", "UPE", "OM"})
_DURATIONS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_GROUPS = {"status", "time", "start", "aborted", "path"} | {
    f"{what}_{unit}" for what in ("duration", "wait") for unit in _DURATIONS
}


def parse_nginx(line: str) -> Logged | None:
    """nginx's combined format with `msec`, `rt`, `uht`, `urt`, `sent` and `ok` behind it.

    The wait is the time until the upstream was asked, as far as it can be told, and the upstream's until its
    header: where it was asked several times, all of them.
    """
    match = _NGINX.fullmatch(line)
    if match is None:
        return None
    status, end_us = int(match["status"]), round(float(match["end"]) * 1e6)
    duration_us = round(float(match["duration"]) * 1e6)
    is_aborted, target = match["ok"] != "OK", _target(match["request"])
    if status == CLIENT_CLOSED or (is_aborted and match["sent"] == "0"):
        return Logged(None, end_us, duration_us, is_aborted=True, target=target)
    header_us, response_us = _sum_us(match["header"]), _sum_us(match["response"])
    wait_us = duration_us
    if header_us is not None and response_us is not None:
        wait_us = min(max(duration_us - response_us, 0) + header_us, duration_us)
    return Logged(status, end_us, duration_us, wait_us, is_aborted, target)


def parse_envoy(line: str) -> Logged | None:
    """Envoy's JSON lines with start_time, duration, response_duration, response_code and response_flags.

    Where response_duration is absent, upstream_service_time (Istio's) stands in for it. A flag of a break counts
    when an answer had begun: before that Envoy answers itself, whole, with a status of 400 or above.
    """
    fields = _read_object(line)
    if fields is None or "response_code" not in fields or "start_time" not in fields:
        return None
    status = int(fields["response_code"])
    duration_us = scaled_us(_text(fields.get("duration")), 1_000) or 0
    wait = fields.get("response_duration", fields.get("upstream_service_time"))
    wait_us = scaled_us(_text(wait), 1_000)
    end_us = parse_time_us(str(fields["start_time"])) + duration_us
    target = _text(fields["path"]) if "path" in fields else None
    if not 100 <= status <= 599:  # 0: the client left before there was one
        return Logged(None, end_us, duration_us, is_aborted=True, target=target)
    flags = set(_text(fields.get("response_flags")).split(","))
    has_begun = wait_us is not None or status < 400
    is_aborted = bool(flags & _ENVOY_LEFT) or (has_begun and bool(flags & _ENVOY_BROKEN))
    return Logged(status, end_us, duration_us, wait_us, is_aborted, target)


def parse_caddy(line: str) -> Logged | Other | None:
    """Caddy's JSON access log: ts, duration, status and uri. It does not tell the wait, nor answers cut short."""
    fields = _read_object(line)
    if fields is not None and not str(fields.get("logger", "http.log.access")).startswith("http.log.access"):
        return OTHER
    if fields is None or "status" not in fields or "ts" not in fields or "duration" not in fields:
        return None
    status = int(fields["status"])
    end_us = parse_time_us(str(fields["ts"]))
    duration_us = scaled_us(str(fields["duration"]), 1_000_000)
    request = fields.get("request")
    target = _text(request["uri"]) if isinstance(request, dict) and "uri" in request else None
    if status == CLIENT_CLOSED or not 100 <= status <= 599:
        return Logged(None, end_us, duration_us, is_aborted=True, target=target)
    return Logged(status, end_us, duration_us, target=target)


def parse_uvicorn(line: str) -> Logged | Other | None:
    """uvicorn's access log, which tells the status alone: no time, no duration."""
    text = _COLOURS.sub("", line)
    match = _UVICORN.fullmatch(text)
    if match is not None:
        return Logged(int(match["status"]), target=match["target"])
    return None if " HTTP/" in text else OTHER  # the server's own words stand in the same log


def pattern_parser(pattern: str) -> Parser:
    """Return a parser for a regular expression of the user's; raises ConfigurationError.

    Its groups: `status` (needed), `time` (the end) or `start`, `duration_s`, `_ms` or `_us`, `wait_s`, `_ms`
    or `_us`, `aborted` (anything in it says so), and `path`, with its query or without. The whole line must match.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"--pattern is no regular expression: {error}") from error
    names = set(compiled.groupindex)
    if "status" not in names or names - _GROUPS:
        raise ConfigurationError(
            f"--pattern has the groups {', '.join(sorted(names)) or '(none)'}; it takes (?P<status>...) and of "
            f"{', '.join(sorted(_GROUPS - {'status'}))}"
        )

    def parse(line: str) -> Logged | None:
        match = compiled.fullmatch(line)
        return None if match is None else _of_groups({k: v or "" for k, v in match.groupdict().items()})

    return _forgiving(parse)


def _forgiving(parser: Parser) -> Parser:
    """Return a parser to which a field that is no number, or no time, is a line that does not fit."""

    def parse(line: str) -> Logged | Other | None:
        try:
            return parser(line)
        except (ValueError, TypeError, OverflowError):
            return None

    return parse


FORMATS: Mapping[str, Parser] = {
    "nginx": _forgiving(parse_nginx),
    "envoy": _forgiving(parse_envoy),
    "caddy": _forgiving(parse_caddy),
    "uvicorn": _forgiving(parse_uvicorn),
}


def _of_groups(groups: Mapping[str, str]) -> Logged | None:
    def duration(what: str) -> int | None:
        for unit, unit_us in _DURATIONS.items():
            if (text := groups.get(f"{what}_{unit}")) is not None:
                return scaled_us(text, unit_us)
        return None

    duration_us, wait_us = duration("duration"), duration("wait")
    end_us = parse_time_us(groups["time"]) if groups.get("time") else None
    if end_us is None and groups.get("start"):
        end_us = parse_time_us(groups["start"]) + (duration_us or 0)
    status = None if groups["status"] in {"", "-", "0", "000"} else int(groups["status"])
    if status is not None and not 100 <= status <= 599:
        return None
    if wait_us is not None and duration_us is not None:
        wait_us = min(wait_us, duration_us)
    is_aborted = status in {None, CLIENT_CLOSED} or groups.get("aborted", "") not in {"", "-"}
    if status == CLIENT_CLOSED:
        status = None
    return Logged(status, end_us, duration_us, wait_us, is_aborted, groups.get("path"))


def _target(request_line: str) -> str:
    """Return the target of `GET /path HTTP/1.1`; empty when it is no request line."""
    words = request_line.split(" ", 2)
    return words[1] if len(words) > 1 else ""


def _sum_us(text: str) -> int | None:
    """Return the sum of nginx's times: a comma after each server asked, a colon after an inner redirect."""
    times = [part for part in re.split(r"[,:]", text.replace(" ", "")) if part not in {"", "-"}]
    return round(sum(map(float, times)) * 1e6) if times else None


def _read_object(line: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _text(value: object) -> str:
    return "" if value is None else str(value)
