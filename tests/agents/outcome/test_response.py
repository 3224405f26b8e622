"""Which responses are read, and how."""

import pytest

from endpoint_analytics.agents.outcome.answer_reader import AnswerReader
from endpoint_analytics.agents.outcome.response import reader_for
from endpoint_analytics.agents.outcome.stream_reader import StreamReader


def reader(status: int, content_type: bytes, content_encoding: bytes = b""):
    return reader_for(status, content_type, content_encoding, lambda error: None)


@pytest.mark.parametrize(
    "content_type",
    [
        b"text/event-stream",
        b"Text/Event-Stream; charset=utf-8",
        b" text/event-stream ;charset=utf-8",
        b"application/x-ndjson",
        b"application/jsonl",
        b"application/json-seq",
        b"application/geo+json-seq",
        b"application/stream+json",
    ],
)
@pytest.mark.parametrize("encoding", [b"", b"identity", b"gzip", b"Br"])
def test_streams_are_read_whatever_their_encoding(content_type, encoding):
    found = reader(200, content_type, encoding)
    assert isinstance(found, StreamReader)
    assert (found._events is not None) is (encoding in {b"", b"identity"})
    assert found.end().streamed


def test_a_stream_with_an_error_status_is_read_too():
    assert isinstance(reader(500, b"text/event-stream"), StreamReader)


@pytest.mark.parametrize(
    "content_type", [b"application/json", b"Application/JSON;charset=UTF-8", b"application/vnd.api+json"]
)
def test_json_answers_are_read_unless_they_are_errors_or_encoded(content_type):
    assert isinstance(reader(200, content_type), AnswerReader)
    assert reader(400, content_type) is None
    assert reader(200, content_type, b"gzip") is None


@pytest.mark.parametrize(
    "content_type",
    [b"", b";", b"text/html", b"image/png", b"application/jsonp", b"text/event-streams", b"\xff"],
)
def test_nothing_else_is_read(content_type):
    assert reader(200, content_type) is None
