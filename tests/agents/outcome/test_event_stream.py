"""Splitting a body into events: WHATWG's rules, JSON lines, and the bounds of what is held."""

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.outcome import event_stream
from endpoint_analytics.agents.outcome.event_stream import MAX_EVENT_BYTES, NdjsonEvents, SseEvents

LONG = b"x" * (MAX_EVENT_BYTES + 1)


def split(pieces: list[bytes], events=None) -> list[tuple[bytes, bytes]]:
    events = events or SseEvents()
    return [event for piece in pieces for event in events.feed(piece)]


def reference(body: bytes) -> list[tuple[bytes, bytes]]:
    """WHATWG's rules, word by word, on a whole body."""
    body = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events, name, data = [], b"", b""
    for line in body.split(b"\n")[:-1]:
        if line == b"":
            if data:
                events.append((name, data.removesuffix(b"\n")))
            name = data = b""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                name = value
            elif field == b"data":
                data += value + b"\n"
    return events


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data: a\r\rdata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")]),
        (b"data:a\n\ndata:  b\n\n", [(b"", b"a"), (b"", b" b")]),
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [(b"", b"YHOO\n+2\n10")]),
        (b": test stream\n\ndata: first\nid: 1\n\ndata:second\nid\n\n", [(b"", b"first"), (b"", b"second")]),
        (b"data\n\ndata\ndata\n\ndata:", [(b"", b""), (b"", b"\n")]),
        (b"event: add\ndata: 1\n\ndata: 2\n\n", [(b"add", b"1"), (b"", b"2")]),
        (b"event: add\n\ndata: 2\n\n", [(b"", b"2")]),
        (b"event: add\nevent: remove\ndata: 2\n\n", [(b"remove", b"2")]),
        (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [(b"", b"a")]),
        (b"data: a\n\ndata: unfinished\n", [(b"", b"a")]),
        (b"Data: a\n\n data: b\n\ndata : c\n\n", []),
        (b"\n\n\n", []),
    ],
)
def test_events_follow_the_rules_of_whatwg(body, events):
    assert split([body]) == events == reference(body)


fragments = st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"data",
        b"event: ",
        b"event",
        b":",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\xef\xbb\xbf",
        b"id: 1",
        b"a",
        b" ",
        b"{}",
        b"data: a\n\n",
        b"event: e\ndata: a\n\n",
        b"\x00",
        b"\x85",
    ]
)


@given(st.lists(st.lists(fragments).map(b"".join)))
def test_any_pieces_are_read_as_the_rules_say(pieces):
    assert split(pieces) == reference(b"".join(pieces))


@pytest.mark.parametrize("piece", [b"data: a\n\n", b"event: e\ndata: a\n\n", b"data: a\n\ndata: b\n\n"])
def test_whole_events_leave_nothing_held(piece):
    events = SseEvents()
    assert split([piece, piece], events)
    assert events.held_bytes == 0


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: ", LONG],
        [b"data: " + LONG + b"\n\n"],
        [b"event: " + LONG],
        [b":" + LONG],
        [b"data: a\n" * (MAX_EVENT_BYTES // 2 + 1)],
        [b"data: " + LONG[:-100], b"\nevent: ", LONG[:200]],
    ],
)
def test_too_long_an_event_is_given_up(pieces):
    events = SseEvents()
    assert split([b"data: before\n\n", *pieces, b"\n\ndata: after\n\n"], events) == [(b"", b"before")]
    assert events.gave_up
    assert events.held_bytes == 0


def test_events_before_too_long_a_one_in_the_same_piece_are_read():
    events = SseEvents()
    assert split([b"data: a\n\ndata: b\n\ndata: " + LONG], events) == [(b"", b"a"), (b"", b"b")]
    assert events.gave_up


def test_long_pieces_of_short_events_are_read():
    events = SseEvents()
    assert len(split([b"data: " + b"x" * 90 + b"\n\n"] * 2 + [(b"data: y\n\n") * 300_000], events)) == 300_002
    assert not events.gave_up


def test_an_event_of_just_the_longest_length_is_read_in_any_pieces():
    body = b"data: " + b"x" * (MAX_EVENT_BYTES - 6) + b"\n\n"
    for size in (len(body), 1 << 19, 100_000):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        assert [len(data) for _, data in split([b"\n", *pieces])] == [MAX_EVENT_BYTES - 6], size


@pytest.mark.parametrize("new", [SseEvents, NdjsonEvents])
@pytest.mark.parametrize("piece", [b"d", b"da", b"data: a\n", b"x" * 1000])
def test_what_is_held_never_exceeds_the_bound(new, piece, monkeypatch):
    bound = 64 * 1024
    monkeypatch.setattr(event_stream, "MAX_EVENT_BYTES", bound)
    events = new()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(bound // len(piece) + 2):
            events.feed(piece)
            assert events.held_bytes <= bound
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert events.gave_up or piece.endswith(b"\n")
    assert peak_bytes < 3 * bound


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b'{"a":1}\n{"b":2}\n'], [b'{"a":1}', b'{"b":2}']),
        ([b'{"a"', b":1}\r", b"\n\n", b"  \r\n[2]\n"], [b'{"a":1}', b"[2]"]),
        ([b'\x1e{"a":1}\n\x1e{"b":2}\n'], [b'{"a":1}', b'{"b":2}']),
        ([b""], []),
    ],
)
def test_lines_of_json_are_events(pieces, lines):
    assert split(pieces, NdjsonEvents()) == [(b"", line) for line in lines]


@pytest.mark.parametrize(
    ("tail", "missing"),
    [(b'{"a":1}', b"\n"), (b'{"a":', b""), (b"", b""), (b" ", b""), (b'{"a":1}\r', b"\n")],
)
def test_a_last_line_lacks_its_end_if_it_is_whole(tail, missing):
    events = NdjsonEvents()
    events.feed(tail)
    assert events.missing_end() == missing


def test_too_long_a_line_is_given_up():
    events = NdjsonEvents()
    assert split([b"1\n2", LONG, b"\n3\n"], events) == [(b"", b"1")]
    assert events.gave_up
    assert events.held_bytes == 0


@given(st.lists(st.sampled_from([b'{"a":1}', b"\n", b"\r", b"x", b" ", b"\x1e"])))
def test_lines_are_the_same_in_any_pieces(pieces):
    assert split(pieces, NdjsonEvents()) == split([b"".join(pieces)], NdjsonEvents())
