"""Heads: what is parsed, what is refused, and that a real parser reads forwarded heads the same way."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.proxy.fields import BadHeadError, HeadLimits
from endpoint_analytics.agents.proxy.forwarding import request_bytes
from endpoint_analytics.agents.proxy.head import (
    find_end,
    parse_request,
    parse_response,
)

LIMITS = HeadLimits()


def request(*lines: str, first: str = "GET /path?q=1 HTTP/1.1") -> bytes:
    return "\r\n".join([first, "Host: example", *lines, "", ""]).encode("latin-1")


def status_of(head: bytes) -> int:
    with pytest.raises(BadHeadError) as caught:
        parse_request(head, LIMITS)
    return caught.value.status


def test_what_a_request_says():
    head = parse_request(
        request("Content-Length: 12", "X-Request-Id: a1", "Connection: close", "TE: trailers"), LIMITS
    )
    assert (head.method, head.target, head.host, head.minor_version) == (b"GET", b"/path?q=1", b"example", 1)
    assert (head.length, head.is_chunked, head.wants_close, head.takes_trailers) == (12, False, True, True)
    assert head.lines == [b"Content-Length: 12", b"X-Request-Id: a1"]


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Content-Length: 5", "Content-Length: 5"],
        ["Content-Length: 5, 5"],
        ["Content-Length: +5"],
        ["Content-Length: -1"],
        ["Content-Length: 0x5"],
        ["Content-Length: 5 5"],
        ["Content-Length:"],
        ["Content-Length: 9999999999999999999999"],
        ["Content-Length : 5"],
        ["Transfer-Encoding : chunked"],
        ["X: a", " folded: b"],
        ["X: a", "\tfolded"],
        ["X: a\nContent-Length: 5"],
        ["X: a\rContent-Length: 5"],
        ["X: a\0b"],
        ["X: a\x7fb"],
        ["no colon"],
        [": no name"],
        ["Bad Name: a"],
        ["Bad(Name): a"],
        ["B\xe4d: a"],
        ["Host: another"],
    ],
    ids=repr,
)
def test_header_lines_that_are_refused(lines):
    assert status_of(request(*lines)) == 400


@pytest.mark.parametrize(
    "codings",
    [
        ["identity"],
        ["gzip, chunked"],
        ["chunked, chunked"],
        ["xchunked"],
        ["chunked;q=1"],
        ["chunked", "chunked"],
        ["\x0bchunked"],
    ],
)
def test_transfer_encodings_that_are_refused(codings):
    lines = [f"Transfer-Encoding: {coding}" for coding in codings]
    assert status_of(request(*lines)) in {400, 501}


@pytest.mark.parametrize(
    "first",
    [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / http/1.1",
        "GET /",
        "GET / x HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GE(T / HTTP/1.1",
        "GET path HTTP/1.1",
        "CONNECT example:443 HTTP/1.1",
        "GET http://user@example/ HTTP/1.1",
        "",
    ],
    ids=repr,
)
def test_request_lines_that_are_refused(first):
    assert status_of(request(first=first)) == 400


def test_a_transfer_encoding_in_http_1_0_is_refused():
    assert status_of(request("Transfer-Encoding: chunked", first="POST / HTTP/1.0")) == 400


def test_a_host_is_needed_in_http_1_1_alone():
    assert status_of(b"GET / HTTP/1.1\r\nX: a\r\n\r\n") == 400
    assert parse_request(b"GET / HTTP/1.0\r\n\r\n", LIMITS).host == b""


def test_an_absolute_target_names_the_host():
    head = parse_request(request(first="GET http://other:81/a?b HTTP/1.1"), LIMITS)
    assert (head.target, head.host) == (b"/a?b", b"other:81")
    assert parse_request(request(first="GET http://other HTTP/1.1"), LIMITS).target == b"/"
    assert parse_request(request(first="OPTIONS * HTTP/1.1"), LIMITS).target == b"*"


def test_too_many_lines_and_too_large_a_head():
    assert status_of(request(*(f"X-{n}: a" for n in range(128)))) == 431
    large = request("X: " + "a" * 70_000)
    for buffer in (large, large[:-4]):
        with pytest.raises(BadHeadError) as caught:
            find_end(buffer, LIMITS)
        assert caught.value.status == 431
    with pytest.raises(BadHeadError) as caught:
        find_end(b"GET /" + b"a" * 70_000, LIMITS)
    assert caught.value.status == 414


def test_a_head_ends_wherever_its_bytes_are_parted():
    head = request("X: a")
    for cut in range(1, len(head)):
        assert find_end(head[:cut], LIMITS) == 0
        assert find_end(head + b"more", LIMITS, cut) == len(head)


def test_a_bare_line_feed_is_refused_without_waiting_for_more():
    with pytest.raises(BadHeadError):
        find_end(b"GET / HTTP/1.1\nHost: a\n\n", LIMITS)


def test_what_connection_names_goes_no_further_but_the_framing_does():
    head = parse_request(
        request("Content-Length: 5", "X-Mine: a", "X-Other: b", "Connection: x-mine, Content-Length, HOST"),
        LIMITS,
    )
    assert head.lines == [b"Content-Length: 5", b"X-Other: b"]
    assert (head.length, head.host) == (5, b"example")


def test_an_upgrade_must_be_named_by_connection():
    assert parse_request(request("Upgrade: websocket"), LIMITS).upgrade == b""
    lines = ("Upgrade: websocket", "Connection: keep-alive, Upgrade")
    assert parse_request(request(*lines), LIMITS).upgrade == b"websocket"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 600 x\r\n\r\n",
        b"HTTP/2 200 x\r\n\r\n",
        b"HTTP/1.1  200 x\r\n\r\n",
        b"HTTP/1.1 200 x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 x\r\nX: a\r\n folded\r\n\r\n",
    ],
    ids=repr,
)
def test_responses_that_are_refused(head):
    with pytest.raises(BadHeadError):
        parse_response(head, LIMITS)


def test_when_a_response_keeps_its_connection():
    def closes(first: bytes, *lines: bytes) -> bool:
        return parse_response(b"\r\n".join([first, *lines, b"", b""]), LIMITS).wants_close

    assert not closes(b"HTTP/1.1 200 OK")
    assert not closes(b"HTTP/1.1 200")
    assert closes(b"HTTP/1.1 200 OK", b"Connection: close")
    assert closes(b"HTTP/1.0 200 OK")
    assert not closes(b"HTTP/1.0 200 OK", b"Connection: Keep-Alive")


NAMES = st.text("abcXYZ019-_", min_size=1, max_size=8)
VALUES = st.text('abc 09,;="\t\xe9', max_size=12)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.integers(0, 2))
def test_what_is_passed_on_is_what_another_parser_reads(fields, framing):
    extra = [[], ["Content-Length: 7"], ["Transfer-Encoding: chunked"]][framing]
    head = request(*(f"{name}: {value}" for name, value in fields), *extra, first="POST /x HTTP/1.1")
    passed = request_bytes(parse_request(head, LIMITS), b"1.2.3.4", "append")
    server = h11.Connection(h11.SERVER)
    server.receive_data(passed)
    event = server.next_event()
    assert (event.method, event.target) == (b"POST", b"/x")
    expected = [(n.lower().encode(), v.strip(" \t").encode("latin-1")) for n, v in fields]
    found = [(bytes(name), bytes(value)) for name, value in event.headers]
    assert [field for field in found if field in expected] == expected


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(data):
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + data + b"\r\n\r\n"
    try:
        end = find_end(head, LIMITS)
        parsed = parse_request(head[:end], LIMITS)
    except BadHeadError:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(request_bytes(parsed, b"1.2.3.4", "append"))
    server.next_event()  # what was let through is valid to another parser
