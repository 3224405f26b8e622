"""Export requests become requests of replicas: each span once, and every other one counted."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.agents.otlp.exports import NAMES, NOW_US, STABLE, export, server_span

from endpoint_analytics.agents.log.batching import OLDEST_US
from endpoint_analytics.agents.otlp.decoding import PROTOBUF, open_export
from endpoint_analytics.agents.otlp.identity import Fixed, Identity
from endpoint_analytics.agents.otlp.intake import Intake
from endpoint_analytics.agents.otlp.memory import Memory
from endpoint_analytics.agents.otlp.reading import STEP_SPANS, read_export
from endpoint_analytics.agents.otlp.roster import Roster

R1 = Identity("acme", "shop", "r1")


class Taking:
    """An intake with what it remembers; `read` does without the pauses between the steps."""

    def __init__(self, remember=100, exclude_paths=(), max_replicas=100, max_namespace_replicas=100):
        self.memory, self.roster = Memory(remember), Roster(max_replicas, max_namespace_replicas)
        self.excluded = frozenset(exclude_paths)
        self.intake = Intake(self.memory, self.roster)

    def read(self, message, now_us=NOW_US):
        return self.intake.take(self.reading(message, now_us)[0])

    def reading(self, message, now_us=NOW_US):
        """Return what was read, and in how many steps."""
        reading = read_export(
            open_export(message.SerializeToString(), PROTOBUF), Fixed(), self.excluded, now_us
        )
        steps = 0
        while True:
            try:
                next(reading)
            except StopIteration as end:
                return end.value, steps
            steps += 1


def test_a_repeated_span_counts_once():
    intake = Taking()
    first = intake.read(export(server_span(1), server_span(2)))
    again = intake.read(export(server_span(2), server_span(3), server_span(3)))
    assert (first.accepted, first.repeated) == (2, 0)
    assert (again.accepted, again.repeated) == (1, 2)
    assert len(first.parts[R1].requests) == 2


def test_the_same_span_id_in_another_trace_is_another_span():
    other = server_span(1)
    other.trace_id = b"t" * 16
    assert Taking().read(export(server_span(1), other)).accepted == 2


def test_others_are_ignored():
    spans = (
        server_span(1, kind=Span.SpanKind.SPAN_KIND_CLIENT),
        server_span(2, {"rpc.system": "grpc"}),
        server_span(3, STABLE | {"url.path": "/health"}),
        server_span(4),
    )
    received = Taking(exclude_paths=("/health",)).read(export(*spans))
    assert (received.accepted, received.ignored, received.rejected) == (1, 3, {})


def test_rejected_with_a_reason():
    intake = Taking(max_replicas=1)
    no_ids, no_end = server_span(1), server_span(2)
    no_ids.span_id = b""
    no_end.end_time_unix_nano = 0
    received = intake.read(
        export(no_ids, no_end, server_span(3, end_us=NOW_US - OLDEST_US - 1), server_span(4))
    )
    assert received.rejected == {"no_ids": 1, "no_end": 1, "too_old": 1}
    assert (received.parts[R1].dropped, received.dropped) == (received.rejected, {})
    nobody = intake.read(export(server_span(5), names={"service.name": "shop"}))
    assert (nobody.rejected, nobody.dropped) == ({"no_namespace": 1}, {})
    second = export(server_span(6), names=NAMES | {"service.instance.id": "r2"})
    assert intake.read(second).rejected == {"too_many_replicas_in_all": 1}
    intake.roster.remove(R1)
    assert intake.read(second).accepted == 1


def test_a_rejected_span_may_come_again_with_its_mistake_mended():
    intake = Taking()
    assert intake.read(export(server_span(1), names={})).rejected
    assert intake.read(export(server_span(1))).accepted == 1


def test_the_response_start_may_come_in_another_export():
    span = server_span(1)
    child = server_span(2, {"asgi.event.type": "http.response.start"}, kind=Span.SpanKind.SPAN_KIND_INTERNAL)
    child.name, child.trace_id, child.parent_span_id = "GET /buy http send", span.trace_id, span.span_id
    child.start_time_unix_nano = span.start_time_unix_nano + 7_000_000
    intake = Taking()
    assert intake.read(export(child)).ignored == 1
    (request,) = intake.read(export(span)).parts[R1].requests
    assert request.wait_us == 7_000


def test_sampled_spans_are_counted_as_such(caplog):
    intake = Taking()
    spans = [server_span(number, trace_state="ot=th:c") for number in range(1, 4)]
    assert intake.read(export(*spans, server_span(9))).sampled == 3
    (warning,) = caplog.records
    assert warning.getMessage().startswith(
        "acme/shop: its traces are sampled (ot=th in tracestate: 25 % are kept)"
    )


@given(st.lists(st.lists(st.integers(1, 30), max_size=10), max_size=10))
def test_every_span_has_one_fate(exports):
    intake = Taking(1_000)
    counts = Counter[str]()
    for numbers in exports:
        received = intake.read(export(*(server_span(number) for number in numbers)))
        counts.update(accepted=received.accepted, repeated=received.repeated)
    sent = [number for numbers in exports for number in numbers]
    assert counts["accepted"] == len(set(sent))
    assert counts["repeated"] == len(sent) - len(set(sent))


def test_ids_of_one_sender_do_not_hide_the_requests_of_another():
    """Whoever is called knows the ids of its caller's spans, and could send spans with them."""
    intake = Taking()
    other = NAMES | {"service.namespace": "other"}
    assert intake.read(export(server_span(1), names=other)).accepted == 1
    assert intake.read(export(server_span(1))).accepted == 1
    assert intake.read(export(server_span(1))).repeated == 1


def test_what_waits_for_kafka_has_no_paths():
    """They may be long, and are only needed to exclude some."""
    long = server_span(1, STABLE | {"url.path": "/" + "x" * 8_000})
    (request,) = Taking(exclude_paths=("/health",)).read(export(long)).parts[R1].requests
    assert request.target is None


def rejected_span(number=1):
    span = server_span(number)
    span.end_time_unix_nano = 0
    return span


def test_a_rejected_span_that_comes_again_counts_once():
    """Its exporter repeats it if the answer was lost; it is told each time that the span is rejected."""
    intake = Taking()
    intake.read(export(server_span(9)))
    first = intake.read(export(rejected_span()))
    assert (first.rejected, first.rejected_again, first.dropped) == ({"no_end": 1}, {}, {R1: {"no_end": 1}})
    again = intake.read(export(rejected_span(), rejected_span(2)))
    assert (again.rejected, again.rejected_again) == ({"no_end": 2}, {"no_end": 1})
    assert again.dropped == {R1: {"no_end": 1}}
    nobody = [intake.read(export(server_span(5), names={})) for _ in range(2)]
    assert [each.rejected_again.total() for each in nobody] == [0, 1]


def test_rejected_spans_without_ids_cannot_be_told_apart():
    intake, spans = Taking(), [server_span(1), server_span(2)]
    for span in spans:
        span.span_id = b""
    received = intake.read(export(*spans))
    assert (received.rejected, received.rejected_again) == ({"no_ids": 2}, {})


def test_one_namespace_takes_no_place_of_another():
    intake = Taking(max_replicas=4, max_namespace_replicas=2)
    runaway = [NAMES | {"service.instance.id": f"r{number}"} for number in range(5)]
    received = [intake.read(export(server_span(1), names=names)).rejected for names in runaway]
    assert received == [{}, {}] + [{"too_many_replicas": 1}] * 3
    assert intake.read(export(server_span(1), names=NAMES | {"service.namespace": "other"})).accepted == 1


def test_what_waits_for_kafka_is_not_forgotten_however_little_is_remembered():
    intake = Taking(remember=2)
    first = intake.read(export(*(server_span(number) for number in range(1, 101))))
    again = intake.read(export(*(server_span(number) for number in range(1, 101))))
    assert (again.accepted, again.repeated, again.repeats) == (0, 100, {first.parts[R1]})
    intake.memory.settle(first.parts[R1])
    stored = intake.read(export(server_span(100)))
    assert (stored.repeated, stored.repeats) == (1, set())


def test_what_is_taken_back_may_come_again_with_its_response_start():
    span = server_span(1)
    child = server_span(2, {"asgi.event.type": "http.response.start"}, kind=Span.SpanKind.SPAN_KIND_INTERNAL)
    child.name, child.trace_id, child.parent_span_id = "GET /buy http send", span.trace_id, span.span_id
    child.start_time_unix_nano = span.start_time_unix_nano + 7_000_000
    intake = Taking()
    intake.read(export(child))
    for _ in range(2):
        part = intake.read(export(span)).parts[R1]
        assert [request.wait_us for request in part.requests] == [7_000]
        intake.memory.release(part)


def test_a_repeat_within_an_export_waits_for_nothing():
    received = Taking().read(export(server_span(1), server_span(1)))
    assert (received.accepted, received.repeated, received.repeats) == (1, 1, set())


def test_a_large_export_is_read_in_steps():
    spans = [server_span(number) for number in range(1, 10 * STEP_SPANS + 1)]
    reading, steps = Taking().reading(export(*spans))
    assert (len(reading.resources[0].requests), steps) == (10 * STEP_SPANS, 10)
    heavy = server_span(1, {f"attribute {number}": number for number in range(2_000)})
    assert Taking().reading(export(*[heavy] * 60))[1] == 10
