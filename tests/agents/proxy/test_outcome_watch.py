"""The proxy's watch of an exchange: a glance is enough for most responses, and agrees with a closer look."""

from __future__ import annotations

import pytest
from tests.agents.proxy.test_outcomes import EVENTS, breaks, chunks

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.outcome.watch import OutcomeWatcher
from endpoint_analytics.agents.proxy.chunk_data import ChunkData
from endpoint_analytics.agents.proxy.fields import HeadLimits
from endpoint_analytics.agents.proxy.head import parse_request, parse_response
from endpoint_analytics.agents.proxy.outcome_watch import ProxyWatcher, says_nothing

CONFIG = AgentConfig(namespace="acme", endpoint="llm", replica_id="r1")
TYPES = (
    b"",
    b"Content-Type: text/plain",
    b"Content-Type: text/html; charset=utf-8",
    b"content-type:application/json",
    b"Content-Type: application/json",
    b"Content-Type: APPLICATION/JSON; charset=utf-8",
    b"Content-Type: application/json-seq",
    b"Content-Type: application/x-ndjson",
    b"Content-Type: application/vnd.api+json",
    b"CONTENT-TYPE: Text/Event-Stream",
)
OTHERS = (
    b"Server: json",
    b"Content-Encoding: gzip",
    b"Content-Type: text/event-stream",
    b"X-Endpoint-Analytics: model=m",
    b"X-ENDPOINT-ANALYTICS:input_tokens=1",
)
TARGETS = (b"/", b"/predict?a=/v1/chat/completions", b"/v1/chat/completions?a=b", b"/api/chat")


def heads(target: bytes = b"/", kind: bytes = b"", other: bytes = b""):
    lines = [line for line in (b"Content-Length: 9", kind, other) if line]
    request = b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % target
    response = b"HTTP/1.1 200 OK\r\n%s\r\n\r\n" % b"\r\n".join(lines)
    return parse_request(request, HeadLimits()), parse_response(response, HeadLimits())


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("other", [b"", *OTHERS])
def test_a_glance_agrees_with_a_closer_look(target, kind, other):
    request_head, head = heads(target, kind, other)
    path = target.partition(b"?")[0].decode()
    pairs = [line.split(b":", 1) for line in head.lines]
    fields = [(name.lower(), value.strip()) for name, value in pairs]
    watch = OutcomeWatcher(CONFIG, breaks).responded(Recorder().arrive(), None, path, 200, fields)
    assert (
        ProxyWatcher(CONFIG, breaks).responded(Recorder().arrive(), None, request_head, head) is None
    ) == (watch is None)


@pytest.mark.parametrize("kind", TYPES[:5])
def test_a_glance_is_enough_for_what_most_servers_answer(kind):
    _, head = heads(kind=kind)
    assert says_nothing(b"/predict", head.describing)


def test_a_bug_in_the_framing_costs_the_rest_of_the_body():
    reported = []
    request_head, head = heads(kind=b"Content-Type: text/event-stream")
    recorder = Recorder()
    request = recorder.arrive()
    watch = ProxyWatcher(CONFIG, reported.append).responded(request, None, request_head, head)
    watch.received(EVENTS[0], 1)
    watch.chunks = ChunkData()
    watch.received(b"no chunk\n", 2)
    watch.received(chunks(EVENTS[1]), 3)
    watch.ended()
    assert [type(error) for error in reported] == [ValueError]


def test_a_request_has_its_headers_when_someone_looks():
    head = parse_request(
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-ID:  r \r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: b\r\n"
        b"Content-Length: 3\r\n\r\n",
        HeadLimits(),
    )
    assert list(head) == [
        (b"host", b"a"),
        (b"x-request-id", b"r"),
        (b"content-length", b"3"),
        (b"x-forwarded-for", b"1.1.1.1, b"),
    ]
