"""Each format's lines, as the servers wrote them, to requests."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.agents.log.lines import nginx_line

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.log.formats import FORMATS, pattern_parser
from endpoint_analytics.agents.log.json_lines import parse_caddy, parse_envoy, parse_traefik
from endpoint_analytics.agents.log.logged import OTHER, Logged, parse_go_duration_us, parse_time_us
from endpoint_analytics.agents.log.text_lines import parse_haproxy, parse_nginx, parse_uvicorn

END_US = 1_795_550_595_123_000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (nginx_line(END_US / 1e6), Logged(200, END_US, 100_000, 80_000)),
        (nginx_line(END_US / 1e6, duration_s=0.5), Logged(200, END_US, 500_000, 480_000)),
        (nginx_line(END_US / 1e6, 404, header="-", response="-"), Logged(404, END_US, 100_000, 100_000)),
        (nginx_line(END_US / 1e6, 499, header="-", response="0.100", ok=""),
         Logged(None, END_US, 100_000, None, True)),
        (nginx_line(END_US / 1e6, 400, ok="", sent=0), Logged(None, END_US, 100_000, None, True)),
        (nginx_line(END_US / 1e6, 200, ok=""), Logged(200, END_US, 100_000, 80_000, True)),
        (nginx_line(END_US / 1e6, 200, 0.3, "0.010, 0.050", "0.020, 0.200"),
         Logged(200, END_US, 300_000, 140_000)),
        (nginx_line(END_US / 1e6, 502, 0.3, "-, -", "0.020, 0.200"), Logged(502, END_US, 300_000, 300_000)),
        (nginx_line(END_US / 1e6, 200, 0.3, "0.010 : 0.050", "0.020 : 0.200"),
         Logged(200, END_US, 300_000, 140_000)),
    ],
)  # fmt: skip
def test_nginx(line, expected):
    assert parse_nginx(line) == replace(expected, target="/predict")


def test_nginx_escapes_what_looks_like_its_own():
    line = nginx_line(END_US / 1e6)
    escaped = line.replace("client/1.0", r"a\x22 500 1 \x22x\x22 \x22y")
    assert parse_nginx(escaped) == Logged(200, END_US, 100_000, 80_000, target="/predict")
    assert parse_nginx(line.replace("client/1.0", 'a" 500 1 "x" "y')) is None


def envoy(**fields):
    line = {
        "start_time": "2026-11-24T20:03:15.123Z",
        "duration": 250,
        "response_duration": 200,
        "response_code": 200,
        "response_flags": "-",
    }
    return json.dumps({**line, **fields})


ISTIO = envoy(upstream_service_time="200").replace('"response_duration": 200, ', "")
ENVOY_END_US = parse_time_us("2026-11-24T20:03:15.123Z") + 250_000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (envoy(), Logged(200, ENVOY_END_US, 250_000, 200_000)),
        (envoy(response_code="200", duration="250", response_duration="200", response_flags=None),
         Logged(200, ENVOY_END_US, 250_000, 200_000)),
        (envoy(response_code=0, response_duration=None, response_flags="DC"),
         Logged(None, ENVOY_END_US, 250_000, None, True)),
        (envoy(response_flags="DC"), Logged(200, ENVOY_END_US, 250_000, 200_000, True)),
        (envoy(response_flags="UC"), Logged(200, ENVOY_END_US, 250_000, 200_000, True)),
        (envoy(response_code=503, response_duration="-", response_flags="UF,URX"),
         Logged(503, ENVOY_END_US, 250_000, None)),
        (envoy(response_code=503, response_duration=None, response_flags="UC"),
         Logged(503, ENVOY_END_US, 250_000, None)),
        (envoy(response_flags="UT"), Logged(200, ENVOY_END_US, 250_000, 200_000, True)),
        (envoy(response_flags="UMSDR"), Logged(200, ENVOY_END_US, 250_000, 200_000, True)),
        (envoy(response_code=504, response_duration=None, response_flags="UT"),
         Logged(504, ENVOY_END_US, 250_000, None)),
        (envoy(response_flags="DPE"), Logged(200, ENVOY_END_US, 250_000, 200_000, True)),
        (envoy(response_code=400, response_duration=None, response_flags="DPE"),
         Logged(400, ENVOY_END_US, 250_000, None)),
        (ISTIO, Logged(200, ENVOY_END_US, 250_000, 200_000)),
        (ISTIO.replace('"200"', "null").replace('"-"', '"UC"'),
         Logged(200, ENVOY_END_US, 250_000, None, True)),
    ],
)  # fmt: skip
def test_envoy(line, expected):
    assert parse_envoy(line) == expected


# As Caddy 2.6 wrote it.
CADDY = (
    '{"level":"info","ts":1795550595.123,"logger":"http.log.access.log0","msg":"handled request",'
    '"request":{"remote_ip":"127.0.0.1","remote_port":"52318","proto":"HTTP/1.1","method":"GET",'
    '"host":"127.0.0.1","uri":"/","headers":{}},"user_id":"","duration":0.002499,"size":5,"status":200,'
    '"resp_headers":{"Server":["Caddy"]}}'
)


def test_caddy():
    assert parse_caddy(CADDY) == Logged(200, END_US, 2_499, target="/")
    iso = CADDY.replace("1795550595.123", '"2026-11-24T20:03:15.123Z"')
    assert parse_caddy(iso) == Logged(200, parse_time_us("2026-11-24T20:03:15.123Z"), 2_499, target="/")
    gone = Logged(None, END_US, 2_499, None, True, "/")
    assert parse_caddy(CADDY.replace(":200,", ":499,")) == gone
    assert parse_caddy(CADDY.replace(":200,", ":0,")) == gone
    assert parse_caddy('{"level":"info","ts":1.5,"logger":"tls","msg":"done"}') is OTHER


def test_uvicorn():
    assert parse_uvicorn('INFO:     127.0.0.1:54321 - "GET /a?b=c HTTP/1.1" 200 OK') == Logged(
        200, target="/a?b=c"
    )
    assert parse_uvicorn('INFO:     ::1:5 - "POST /a HTTP/1.1" 422 Unprocessable Entity') == Logged(
        422, target="/a"
    )
    coloured = '\x1b[32mINFO\x1b[0m: 1.2.3.4:5 - "\x1b[1mGET / HTTP/1.1\x1b[0m" \x1b[91m500 Internal\x1b[0m'
    assert parse_uvicorn(coloured) == Logged(500, target="/")
    assert parse_uvicorn('2026-11-24 20:03:15 [INFO] 1.2.3.4:0 - "GET / HTTP/1.1" 204') == Logged(
        204, target="/"
    )
    assert parse_uvicorn("INFO:     Started server process [4711]") is OTHER
    assert parse_uvicorn('INFO:     1.2.3.4:5 - "GET / HTTP/1.1" x') is None


def test_a_pattern_of_the_users_own():
    parse = pattern_parser(
        r"(?P<time>\S+) (?P<status>\d+|-) (?P<duration_ms>\S+) (?P<wait_ms>\S+) (?P<aborted>\w*)"
    )
    assert parse(f"{END_US / 1e6} 200 12.5 3 ") == Logged(200, END_US, 12_500, 3_000)
    assert parse(f"{END_US // 1_000} 200 12.5 - cut") == Logged(200, END_US, 12_500, None, True)
    assert parse(f"{END_US} - 12.5 -  ".rstrip() + " ") == Logged(None, END_US, 12_500, None, True)
    assert parse("nonsense") is None
    assert parse(f"{END_US} 700 1 1 ") == Logged(700, END_US, 1_000, 1_000)
    assert parse("not-a-time 200 1 1 ") is None
    start = pattern_parser(r"\[(?P<start>.+)\] (?P<status>\d+) (?P<duration_s>\S+)")
    assert start("[24/Nov/2026:21:03:15 +0100] 200 1.5") == Logged(
        200, parse_time_us("2026-11-24T20:03:16.5Z"), 1_500_000
    )
    assert pattern_parser(r"(?P<status>\d+)")("404") == Logged(404)


def test_the_target_in_each_format():
    assert parse_nginx(nginx_line(1.5, request="GET /health?full HTTP/1.1")).target == "/health?full"
    assert parse_nginx(nginx_line(1.5, 400, request=r"\x16\x03")).target == ""
    assert parse_envoy(envoy(path="/a%20b?c")).target == "/a%20b?c"
    assert parse_envoy(envoy(path="/a", response_code=0)).target == "/a"
    assert parse_envoy(envoy(path=None)).target == ""
    assert parse_envoy(envoy()).target is None
    assert parse_caddy(CADDY.replace('"uri":"/"', '"uri":"/health"')).target == "/health"
    assert parse_caddy('{"ts":1.5,"duration":1.5,"status":200,"request":7}').target is None
    assert pattern_parser(r"(?P<status>\d+) (?P<path>\S+)")("200 /a?b").target == "/a?b"


@pytest.mark.parametrize("pattern", ["(", r"(?P<code>\d+)", r"(?P<status>\d+)(?P<other>.)"])
def test_patterns_that_cannot_work(pattern):
    with pytest.raises(ConfigurationError):
        pattern_parser(pattern)


@pytest.mark.parametrize(
    "text",
    ["1795550595.123", "1795550595123", "1795550595123000", "1795550595123000000", "2026-11-24T20:03:15.123Z",
     "2026-11-24T21:03:15.123+01:00", "2026-11-24 20:03:15.123"],
)  # fmt: skip
def test_times_in_their_units(text):
    expected = parse_time_us("2026-11-24T20:03:15.123+00:00")
    assert parse_time_us(text) == (END_US if text[0] == "1" else expected)


@pytest.mark.parametrize(
    "text", ["", "x", "nan", "-1", "inf", "32/Foo/2026:20:03:15 +0000", "24/Foo/2026:20:03:15 +0000"]
)
def test_times_that_are_none(text):
    with pytest.raises((ValueError, OverflowError)):
        parse_time_us(text)


@pytest.mark.parametrize("name", FORMATS)
@given(st.one_of(st.text(), st.from_regex(r'\{"(ts|status|duration|start_time|response_code)":.{0,20}\}')))
def test_whatever_stands_in_a_log_is_read_or_not(name, text):
    FORMATS[name](text)


@pytest.mark.parametrize("name", FORMATS)
@given(
    value=st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=2)),
    field=st.sampled_from(
        ["ts", "status", "duration", "start_time", "response_code", "response_duration", "response_flags"]
    ),
)
def test_whatever_stands_in_a_field_is_read_or_not(name, value, field):
    for line in (CADDY, envoy()):
        found = json.loads(line)
        found[field] = value
        FORMATS[name](json.dumps(found))


HTTPLOG = (
    "10.1.2.3:43210 [28/Nov/2026:17:35:50.655] fe~ be/s1 0/0/1/69/109 200 253 - - ---- 1/1/0/0/0 0/0 "
    '"POST /v1/chat HTTP/1.1"'
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (HTTPLOG, (200, 109_000, 70_000, False)),
        (f"Nov 28 17:35:50 host haproxy[71]: {HTTPLOG}", (200, 109_000, 70_000, False)),
        (f"<134>1 2026-11-28T17:35:50+00:00 host haproxy 71 - - {HTTPLOG}", (200, 109_000, 70_000, False)),
        (HTTPLOG.replace("10.1.2.3:", "::1:"), (200, 109_000, 70_000, False)),
        (HTTPLOG.replace('0/0 "', '0/0 {a|b} {c} "'), (200, 109_000, 70_000, False)),
        (HTTPLOG + " 0/0000000000000000/0/0/0 a/TLSv1.3/b", (200, 109_000, 70_000, False)),  # option httpslog
        (HTTPLOG[:-1], (200, 109_000, 70_000, False)),  # cut off at its length
        (HTTPLOG.replace("/109 ", "/+109 ").replace(" 253 ", " +253 "), (200, None, None, False)),  # logasap
        (HTTPLOG.replace("69/109 200", "-1/109 400").replace("----", "CH--"), (None, 109_000, None, True)),
        (HTTPLOG.replace("69/109 200", "-1/109 408").replace("----", "cR--"), (408, 109_000, None, False)),
        (HTTPLOG.replace("69/109 200", "-1/109 504").replace("----", "sH--"), (504, 109_000, None, False)),
        (HTTPLOG.replace("----", "SD--"), (200, 109_000, 70_000, True)),
        (HTTPLOG.replace("----", "sL--"), (200, 109_000, 70_000, True)),
        (HTTPLOG.replace("----", "LR--").replace("200", "403"), (403, 109_000, 70_000, False)),
    ],
)
def test_haproxy(line, expected):
    found = parse_haproxy(line)
    assert (found.status, found.duration_us, found.wait_us, found.is_aborted) == expected
    assert found.target == "/v1/chat"


@pytest.mark.parametrize(
    "line",
    [
        "10.1.2.3:43210 [28/Nov/2026:17:35:50.655] fe be/s1 0/0/109 253 -- 1/1/0/0/0 0/0",  # option tcplog
        "10.1.2.3:43210 [28/Nov/2026:17:35:50.655] fe/1: SSL handshake failure",
        "Proxy model started.",
        "Server servers/s1 is DOWN, reason: Layer4 connection problem.",
        HTTPLOG.replace("POST /v1/chat HTTP/1.1", "<BADREQ>").replace("200", "-1").replace("----", "CR--"),
    ],
)
def test_haproxys_lines_that_are_no_requests(line):
    assert parse_haproxy(line) is OTHER


def test_traefiks_own_routers_and_its_other_log_are_no_requests():
    line = {"DownstreamStatus": 200, "Duration": 1_500_000, "StartUTC": "2026-11-28T17:53:40.754313712Z"}
    assert parse_traefik(json.dumps(line)).duration_us == 1_500
    assert parse_traefik(json.dumps({**line, "DownstreamStatus": 499})).status is None
    assert parse_traefik(json.dumps({**line, "RouterName": "ping@internal"})) is OTHER
    assert parse_traefik('{"level":"info","msg":"Starting provider"}') is OTHER
    assert parse_traefik("{}") is None


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [("250ms", 250_000), ("1m2.5s", 62_500_000), ("653.683µs", 654), ("1h0m0s", 3_600_000_000), ("0s", 0)],
)
def test_gos_durations(text, expected_us):
    assert parse_go_duration_us(text) == expected_us


@pytest.mark.timeout(10)  # one that is not linear takes minutes
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "piece",
    ["a", "1", ": ", "a:1 [", "a:1 [28/Nov/2026:17:35:50.655] ", "{} ", '"GET ', " - ", "] ", ": 1:1 ["],
)
def test_no_line_takes_long(name, piece):
    """A client may control it, in a path or a header."""
    for line in (piece * (65_000 // len(piece)), HTTPLOG[:-24] + piece * (65_000 // len(piece))):
        FORMATS[name](line)
