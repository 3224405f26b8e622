"""What a server span tells of a request, in both generations of the conventions."""

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from tests.agents.otlp.exports import NOW_US, OLD, STABLE, attributes, server_span

from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.otlp.spans import read_request, read_response_start


@pytest.mark.parametrize(("values", "target"), [(STABLE, "/buy"), (OLD, "/buy?x=1")], ids=["stable", "old"])
def test_a_request(values, target):
    assert read_request(server_span(values=values), None) == Logged(200, NOW_US, 250_000, None, False, target)


def test_the_response_start_is_the_wait():
    span = server_span()
    assert read_request(span, span.start_time_unix_nano + 40_000_999).wait_us == 40_000
    assert read_request(span, span.start_time_unix_nano - 5).wait_us == 0


def test_not_http():
    assert read_request(server_span(values={"rpc.system": "grpc"}), None) is None


@pytest.mark.parametrize("status", [None, 0, 499, "", "?"])
def test_without_a_status_it_was_aborted_before(status):
    values = {"http.request.method": "GET"} | (
        {} if status is None else {"http.response.status_code": status}
    )
    request = read_request(server_span(values=values), None)
    assert (request.status, request.is_aborted) == (None, True)


@pytest.mark.parametrize("status", ["404", 404.0])
def test_a_status_of_another_type(status):
    span = server_span(values={"http.method": "GET"})
    kind = "string_value" if isinstance(status, str) else "double_value"
    span.attributes.append(KeyValue(key="http.status_code", value=AnyValue(**{kind: status})))
    assert read_request(span, None).status == 404


@pytest.mark.parametrize(
    ("status", "error_type", "error", "exception", "is_aborted"),
    [
        (200, "", False, False, False),
        (200, "ConnectionResetError", True, False, True),
        (200, "", True, True, True),
        (200, "", True, False, False),  # the application's own opinion
        (200, "ConnectionResetError", False, False, False),
        (404, "NotFound", True, True, False),
        (500, "500", True, False, False),
        (500, "ValueError", True, True, False),
    ],
)
def test_an_error_after_the_status(status, error_type, error, exception, is_aborted):
    values = (
        STABLE | {"http.response.status_code": status} | ({"error.type": error_type} if error_type else {})
    )
    request = read_request(server_span(values=values, error=error, exception=exception), None)
    assert (request.status, request.is_aborted) == (status, is_aborted)


def test_times_that_cannot_be():
    """An end before the start lasts nothing; without a start there is no duration."""
    assert read_request(server_span(duration_us=-5), None).duration_us == 0
    span = server_span()
    span.start_time_unix_nano = 0
    assert read_request(span, None).duration_us is None


def test_an_asgi_send_tells_when_the_response_started():
    span = server_span(values={"asgi.event.type": "http.response.start"})
    assert read_response_start(span) is None
    span.name = "GET /buy http send"
    assert read_response_start(span) == span.start_time_unix_nano
    del span.attributes[:]
    span.attributes.extend(attributes({"asgi.event.type": "http.response.body"}))
    assert read_response_start(span) is None
