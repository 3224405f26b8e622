"""Parses plain-text access log lines: nginx, HAProxy, uvicorn. Pure; one function per format.

A parser returns None for a line that does not match (or raises ValueError), and OTHER for a line without a request.
"""

from __future__ import annotations

import re

from endpoint_analytics.agents.log.logged import (
    OTHER,
    Logged,
    Other,
    parse_time_us,
    read_status,
    scaled_us,
)

# log_format as in docs/instrument/nginx.md: the combined format plus six fields.
_NGINX = re.compile(
    r'[^"]*"(?P<request>[^"]*)" (?P<status>\d{3}) \d+ "[^"]*" "[^"]*" '
    r"msec=(?P<end>[\d.]+) rt=(?P<duration>[\d.]+) uht=(?P<header>[-\d., :]+) urt=(?P<response>[-\d., :]+) "
    r"sent=(?P<sent>\d+) ok=(?P<ok>\w*)"
)
# `option httplog`, after any syslog prefix; https://docs.haproxy.org/2.6/configuration.html#8.2.3. `option
# httpslog` adds fields at the end, and a line that is truncated at the maximum length loses its closing quote.
_HAPROXY = re.compile(
    r":\d{1,5} \[(?P<start>\d\d/[A-Z][a-z]{2}/\d{4}:[\d:.]{8,15}(?: [+-]\d{4})?)\] \S+ [^\s/]+/\S+ "
    r"(?P<request_ms>-?\d+)/(?P<queue_ms>-?\d+)/(?P<connect_ms>-?\d+)/(?P<response_ms>-?\d+)/(?P<all_ms>\+?-?\d+) "
    r"(?P<status>-?\d+) \+?\d+ \S+ \S+ (?P<who>\S)(?P<when>\S)\S\S \d+/\d+/\d+/\d+/\+?\d+ \d+/\d+ "
    r'(?:\{[^"]*\} )?"(?P<request>[^"]*)'
)
_HAPROXY_EARLY = frozenset("RQCH")
_HAPROXY_RESPONDING = frozenset("DL")
_UVICORN = re.compile(
    r'(?:.*?[\s\]])?[\w.:\[\]-]* - "[A-Z]+ (?P<target>\S+) HTTP/[\d.]+" (?P<status>\d{3})(?: [\w\' -]*)?'
)
_COLORS = re.compile(r"\x1b\[[\d;]*m")


def parse_nginx(line: str) -> Logged | None:
    """nginx's combined format followed by `msec`, `rt`, `uht`, `urt`, `sent` and `ok`.

    The wait is the time until the upstream got the request, if known, plus the upstream's time to its header; several
    attempts are summed.
    """
    match = _NGINX.fullmatch(line)
    if match is None:
        return None
    status, end_us = read_status(match["status"]), round(float(match["end"]) * 1e6)
    duration_us = round(float(match["duration"]) * 1e6)
    is_aborted, target = match["ok"] != "OK", _target(match["request"])
    if status is None or (is_aborted and match["sent"] == "0"):
        return Logged(None, end_us, duration_us, is_aborted=True, target=target)
    header_us, response_us = _sum_us(match["header"]), _sum_us(match["response"])
    wait_us = duration_us
    if header_us is not None and response_us is not None:
        wait_us = min(max(duration_us - response_us, 0) + header_us, duration_us)
    return Logged(status, end_us, duration_us, wait_us, is_aborted, target)


def parse_haproxy(line: str) -> Logged | Other | None:
    """HAProxy's `option httplog`; lines of `tcplog`, of broken connections and of HAProxy itself are OTHER.

    The first two characters of the termination state say who ended the request, and when. A client that left before the
    status got none, whatever HAProxy still sent; if either side broke off during the response, it was aborted.
    """
    match = _HAPROXY.search(line)
    if match is None:
        return None if " HTTP/" in line else OTHER
    start_us, target = parse_time_us(match["start"]), _target(match["request"])
    status, who, when = read_status(match["status"]), match["who"], match["when"]
    left_early = who == "C" and when in _HAPROXY_EARLY
    if left_early and match["request"] == "<BADREQ>":
        return OTHER  # gone before it sent a request
    if match["all_ms"].startswith("+"):  # `option logasap`: logged at the status, so the end is unknown
        return Logged(status, start_us + (scaled_us(match["all_ms"], 1_000) or 0), target=target)
    duration_us = scaled_us(match["all_ms"], 1_000) or 0
    end_us = start_us + duration_us
    if status is None or left_early:
        return Logged(None, end_us, duration_us, is_aborted=True, target=target)
    waits_ms = [int(match[f"{part}_ms"]) for part in ("request", "queue", "connect", "response")]
    wait_us = min(sum(waits_ms) * 1_000, duration_us) if min(waits_ms) >= 0 else None
    is_aborted = who != "-" and when in _HAPROXY_RESPONDING
    return Logged(status, end_us, duration_us, wait_us, is_aborted, target)


def parse_uvicorn(line: str) -> Logged | Other | None:
    """uvicorn's access log, which has only the status: no time, no duration."""
    text = _COLORS.sub("", line)
    match = _UVICORN.fullmatch(text)
    if match is not None:
        return Logged(int(match["status"]), target=match["target"])
    return None if " HTTP/" in text else OTHER  # the server's own messages are in the same log


def _target(request_line: str) -> str:
    """Return the target of `GET /path HTTP/1.1`; empty if it is not a request line."""
    words = request_line.split(" ", 2)
    return words[1] if len(words) > 1 else ""


def _sum_us(text: str) -> int | None:
    """Return the sum of nginx's times: commas separate servers tried, colons internal redirects."""
    times = [part for part in re.split(r"[,:]", text.replace(" ", "")) if part not in {"", "-"}]
    return round(sum(map(float, times)) * 1e6) if times else None
