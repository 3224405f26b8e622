"""Access log formats by name, and the user's own patterns: parse a line into a request. Pure.

docs/instrument lists the server settings that each format needs, and the variables that its times come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.log.json_lines import (
    parse_caddy,
    parse_envoy,
    parse_istio_gateway,
    parse_traefik,
)
from endpoint_analytics.agents.log.logged import Logged, Other, Unfit, parse_time_us, read_status, scaled_us
from endpoint_analytics.agents.log.text_lines import parse_haproxy, parse_nginx, parse_uvicorn

Parser = Callable[[str], Logged | Other | Unfit | None]
"""Returns None, or Unfit with a reason, for a line that does not match; OTHER or OUTGOING for one to ignore."""

_DURATIONS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_GROUPS = {"status", "time", "start", "aborted", "path"} | {
    f"{what}_{unit}" for what in ("duration", "wait") for unit in _DURATIONS
}


def pattern_parser(pattern: str) -> Parser:
    """Return a parser for the user's regular expression; raises ConfigurationError.

    Its groups: `status` (required), `time` (the end) or `start`, `duration_s`, `_ms` or `_us`, `wait_s`, `_ms`
    or `_us`, `aborted` (any text means aborted), and `path`, with or without the query. The whole line must match.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"--pattern is not a valid regular expression: {error}") from error
    names = set(compiled.groupindex)
    if "status" not in names or names - _GROUPS:
        raise ConfigurationError(
            f"--pattern has the groups {', '.join(sorted(names)) or '(none)'}: expected (?P<status>...) and any of "
            f"{', '.join(sorted(_GROUPS - {'status'}))}"
        )

    def parse(line: str) -> Logged | None:
        match = compiled.fullmatch(line)
        return None if match is None else _of_groups({k: v or "" for k, v in match.groupdict().items()})

    return _forgiving(parse)


def _forgiving(parser: Parser) -> Parser:
    """Return a parser that treats an invalid number or time as a line that does not match."""

    def parse(line: str) -> Logged | Other | Unfit | None:
        try:
            return parser(line)
        except (ValueError, TypeError, OverflowError, KeyError):
            return None

    return parse


FORMATS: Mapping[str, Parser] = {
    "nginx": _forgiving(parse_nginx),
    "envoy": _forgiving(parse_envoy),
    "istio-gateway": _forgiving(parse_istio_gateway),
    "haproxy": _forgiving(parse_haproxy),
    "traefik": _forgiving(parse_traefik),
    "caddy": _forgiving(parse_caddy),
    "uvicorn": _forgiving(parse_uvicorn),
}


def _of_groups(groups: Mapping[str, str]) -> Logged:
    def duration(what: str) -> int | None:
        for unit, unit_us in _DURATIONS.items():
            if (text := groups.get(f"{what}_{unit}")) is not None:
                return scaled_us(text, unit_us)
        return None

    duration_us, wait_us = duration("duration"), duration("wait")
    end_us = parse_time_us(groups["time"]) if groups.get("time") else None
    if end_us is None and groups.get("start"):
        end_us = parse_time_us(groups["start"]) + (duration_us or 0)
    status = read_status(groups["status"])
    if wait_us is not None and duration_us is not None:
        wait_us = min(wait_us, duration_us)
    is_aborted = status is None or groups.get("aborted", "") not in {"", "-"}
    return Logged(status, end_us, duration_us, wait_us, is_aborted, groups.get("path"))
