"""Export requests become requests of replicas: each span once, and every other one counted."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.agents.otlp.exports import NAMES, NOW_US, STABLE, export, server_span

from endpoint_analytics.agents.log.batching import OLDEST_US
from endpoint_analytics.agents.otlp.identity import Fixed, Identity
from endpoint_analytics.agents.otlp.intake import Intake

R1 = Identity("acme", "shop", "r1")


def test_a_repeated_span_counts_once():
    intake = Intake(Fixed(), 100)
    first = intake.read(export(server_span(1), server_span(2)), NOW_US)
    again = intake.read(export(server_span(2), server_span(3), server_span(3)), NOW_US)
    assert (first.accepted, first.repeated) == (2, 0)
    assert (again.accepted, again.repeated) == (1, 2)
    assert len(first.requests[R1]) == 2


def test_the_same_span_id_in_another_trace_is_another_span():
    other = server_span(1)
    other.trace_id = b"t" * 16
    assert Intake(Fixed(), 100).read(export(server_span(1), other), NOW_US).accepted == 2


def test_others_are_ignored():
    spans = (
        server_span(1, kind=Span.SpanKind.SPAN_KIND_CLIENT),
        server_span(2, {"rpc.system": "grpc"}),
        server_span(3, STABLE | {"url.path": "/health"}),
        server_span(4),
    )
    received = Intake(Fixed(), 100, exclude_paths=("/health",)).read(export(*spans), NOW_US)
    assert (received.accepted, received.ignored, received.rejected) == (1, 3, {})


def test_rejected_with_a_reason():
    intake = Intake(Fixed(), 100, max_replicas=1)
    no_ids, no_end = server_span(1), server_span(2)
    no_ids.span_id = b""
    no_end.end_time_unix_nano = 0
    received = intake.read(
        export(no_ids, no_end, server_span(3, end_us=NOW_US - OLDEST_US - 1), server_span(4)), NOW_US
    )
    assert received.rejected == {"no_ids": 1, "no_end": 1, "too_old": 1}
    assert received.dropped == {R1: received.rejected}
    nobody = intake.read(export(server_span(5), names={"service.name": "shop"}), NOW_US)
    assert (nobody.rejected, nobody.dropped) == ({"no_namespace": 1}, {})
    second = export(server_span(6), names=NAMES | {"service.instance.id": "r2"})
    assert intake.read(second, NOW_US).rejected == {"too_many_replicas": 1}
    intake.forget(R1)
    assert intake.read(second, NOW_US).accepted == 1


def test_a_rejected_span_may_come_again_with_its_mistake_mended():
    intake = Intake(Fixed(), 100)
    assert intake.read(export(server_span(1), names={}), NOW_US).rejected
    assert intake.read(export(server_span(1)), NOW_US).accepted == 1


def test_the_response_start_may_come_in_another_export():
    span = server_span(1)
    child = server_span(2, {"asgi.event.type": "http.response.start"}, kind=Span.SpanKind.SPAN_KIND_INTERNAL)
    child.name, child.trace_id, child.parent_span_id = "GET /buy http send", span.trace_id, span.span_id
    child.start_time_unix_nano = span.start_time_unix_nano + 7_000_000
    intake = Intake(Fixed(), 100)
    assert intake.read(export(child), NOW_US).ignored == 1
    (request,) = intake.read(export(span), NOW_US).requests[R1]
    assert request.wait_us == 7_000


def test_sampled_spans_are_counted_as_such(caplog):
    intake = Intake(Fixed(), 100)
    spans = [server_span(number, trace_state="ot=th:c") for number in range(1, 4)]
    assert intake.read(export(*spans, server_span(9)), NOW_US).sampled == 3
    (warning,) = caplog.records
    assert warning.getMessage().startswith(
        "acme/shop: its traces are sampled (ot=th in tracestate: 25 % are kept)"
    )


@given(st.lists(st.lists(st.integers(1, 30), max_size=10), max_size=10))
def test_every_span_has_one_fate(exports):
    intake = Intake(Fixed(), 1_000)
    counts = Counter[str]()
    for numbers in exports:
        received = intake.read(export(*(server_span(number) for number in numbers)), NOW_US)
        counts.update(accepted=received.accepted, repeated=received.repeated)
    sent = [number for numbers in exports for number in numbers]
    assert counts["accepted"] == len(set(sent))
    assert counts["repeated"] == len(sent) - len(set(sent))


def test_ids_of_one_sender_do_not_hide_the_requests_of_another():
    """Whoever is called knows the ids of its caller's spans, and could send spans with them."""
    intake = Intake(Fixed(), 100)
    other = NAMES | {"service.namespace": "other"}
    assert intake.read(export(server_span(1), names=other), NOW_US).accepted == 1
    assert intake.read(export(server_span(1)), NOW_US).accepted == 1
    assert intake.read(export(server_span(1)), NOW_US).repeated == 1


def test_what_waits_for_kafka_has_no_paths():
    """They may be long, and are only needed to exclude some."""
    long = server_span(1, STABLE | {"url.path": "/" + "x" * 8_000})
    (request,) = Intake(Fixed(), 100, exclude_paths=("/health",)).read(export(long), NOW_US).requests[R1]
    assert request.target is None
