"""A stream's times, its end, and how it gives up."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.outcome.transcripts import ANTHROPIC, CHAT, DONE, chunk, reply, sse, usage_chunk

from endpoint_analytics.agents.outcome.body_facts import BodyFacts
from endpoint_analytics.agents.outcome.event_stream import MAX_EVENT_BYTES, NdjsonEvents, SseEvents
from endpoint_analytics.agents.outcome.stream_reader import StreamReader
from endpoint_analytics.agents.outcome.usage import Usage
from endpoint_analytics.schemas.sketch_buckets import bucket_of_us

MS = 1_000_000


def bug(error: Exception) -> None:
    raise AssertionError from error


def read(*pieces: tuple[bytes, int], events=SseEvents) -> BodyFacts:
    reader = StreamReader(events and events(), bug)
    for piece, at_ns in pieces:
        reader.read(piece, at_ns)
    return reader.end()


def word(text: str = "a", **more) -> bytes:
    return sse(chunk({"content": text}, **more))


def test_the_first_byte_is_not_yet_the_first_content():
    facts = read(
        (sse(chunk({"content": ""})), 10 * MS), (word(), 30 * MS), (word(), 45 * MS), (sse(DONE), 50 * MS)
    )
    assert (facts.first_byte_ns, facts.first_content_ns, facts.last_content_ns) == (10 * MS, 30 * MS, 45 * MS)


def test_events_of_one_piece_come_at_once():
    facts = read((word() + word() + word(), 5), (word(), 5 + 7 * MS))
    assert facts.gaps == {0: 2, bucket_of_us(7_000): 1}
    assert (facts.first_content_ns, facts.last_content_ns) == (5, 5 + 7 * MS)


def test_an_event_counts_when_its_last_piece_is_sent():
    whole = word()
    assert read((whole[:20], 1), (whole[20:], 9)).first_content_ns == 9


def test_an_empty_body_says_nothing():
    assert read((b"", 3)) == BodyFacts(streamed=True, events=0)


def test_without_usage_events_stand_for_tokens():
    facts = read((word(), 1), (word(), 2))
    assert facts.is_estimated
    assert facts.usage == Usage(output_tokens=2)


def test_without_content_tokens_are_unknown():
    facts = read((sse(chunk({"content": ""})), 1), (sse({"error": {"message": "no"}}), 2))
    assert not facts.is_estimated
    assert facts.usage == Usage()
    assert facts.failed


def test_of_continuous_usage_the_last_one_counts():
    usage = [
        {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count} for count in (1, 2, 3)
    ]
    facts = read(*[(word(usage=each), 1) for each in usage])
    assert (facts.usage, facts.is_estimated, facts.ended) == (Usage(5, 3), False, False)


def test_content_after_an_end_shows_that_it_was_another_choices():
    finished = sse(chunk({}, "stop"))
    assert read((word() + finished, 1)).ended is True
    assert read((word() + finished + word(), 1)).ended is False
    assert read((word() + finished + word() + finished, 1)).ended is True


def test_the_first_model_counts():
    later = sse({**chunk({"content": "a"}), "model": "other"})
    assert read((sse({**chunk({}), "model": 7}) + word() + later, 1)).model == "gpt-4o-mini"


def test_an_error_in_a_recognised_stream_is_seen():
    assert read((word() + sse({"message": "boom"}, name="error"), 1)).failed
    assert read((word() + sse({"object": "error", "message": "boom"}), 1)).failed


def test_a_dialect_is_recognised_after_other_events():
    before = sse({"conversation": 1}, "hello", name="meta")
    facts = read((before + word() + sse(usage_chunk(prompt_tokens=5, completion_tokens=1)), 1))
    assert (facts.ended, facts.usage) == (False, Usage(5, 1))


def test_a_stream_of_no_dialect_ends_when_done():
    words = sse(*(["cat"] * 20))
    assert read((words, 1)).ended is None
    assert read((words + sse(DONE), 1)).ended is True


def test_json_lines_without_a_last_line_feed_are_read():
    line = json.dumps(reply("", done=True, prompt_eval_count=3, eval_count=4)).encode()
    facts = read((line, 8), events=NdjsonEvents)
    assert (facts.ended, facts.usage, facts.body_bytes) == (True, Usage(3, 4), len(line))


def test_bytes_of_an_unreadable_stream_are_timed():
    facts = read((b"\x1f\x8b", 5), (b"\x00", 9), events=None)
    assert facts == BodyFacts(
        streamed=True, body_bytes=3, first_byte_ns=5, first_content_ns=5, last_content_ns=9
    )


def test_after_too_long_an_event_what_was_timed_stays():
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    facts = read((word(), 5), (word(usage=usage), 9), (b"x" * (MAX_EVENT_BYTES + 1), 11), (word(), 12))
    assert (facts.first_content_ns, facts.last_content_ns, facts.max_gap_ns) == (5, 12, 4)
    assert (facts.events, facts.ended, facts.is_estimated) == (None, None, False)
    assert facts.usage == Usage(input_tokens=5)
    assert facts.model == "gpt-4o-mini"


def test_with_too_long_a_first_event_the_first_byte_stands_for_content():
    facts = read((b"data: ", 5), (b"x" * (MAX_EVENT_BYTES + 1), 11))
    assert (facts.first_byte_ns, facts.first_content_ns, facts.last_content_ns) == (5, 5, 11)


def test_a_bug_is_reported_once_and_what_was_timed_stays(monkeypatch):
    found: list[Exception] = []
    reader = StreamReader(SseEvents(), found.append)
    reader.read(word(), 5)
    monkeypatch.setattr(reader, "_read_event", lambda name, data: 1 / 0)
    for at_ns in (6, 7):
        reader.read(word(""), at_ns)
    facts = reader.end()
    assert [type(error) for error in found] == [ZeroDivisionError]
    assert (facts.first_content_ns, facts.last_content_ns, facts.events) == (5, 7, None)
    assert facts.body_bytes == len(word()) + 2 * len(word(""))


def test_a_bug_at_the_end_raises_nothing(monkeypatch):
    def fail(error: Exception) -> None:
        raise error

    reader = StreamReader(SseEvents(), fail)
    reader.read(word(), 5)
    monkeypatch.setattr(reader, "_times", None)
    reader.read(word(), 6)
    monkeypatch.setattr(reader, "_usage", 7)
    assert reader.end() == BodyFacts(streamed=True, body_bytes=2 * len(word()), first_byte_ns=5)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_pieces_may_be_any_bytes(kind):
    reader = StreamReader(SseEvents(), bug)
    reader.read(kind(CHAT.body), 1)
    assert reader.end().usage == CHAT.usage


@pytest.mark.parametrize("piece", ["text", 7, object()])
def test_what_is_no_bytes_raises_nothing(piece):
    found: list[Exception] = []
    reader = StreamReader(SseEvents(), found.append)
    reader.read(piece, 1)
    reader.read(word(), 2)
    reader.end()
    assert len(found) == 1


@given(st.lists(st.binary(max_size=60)), st.sampled_from([SseEvents, NdjsonEvents, None]))
def test_random_bytes_never_raise(pieces, events):
    facts = read(*[(piece, at_ns) for at_ns, piece in enumerate(pieces)], events=events)
    assert facts.body_bytes == sum(map(len, pieces))


def test_nothing_of_a_stream_is_held_between_events():
    events = SseEvents()
    reader = StreamReader(events, bug)
    reader.read(ANTHROPIC.body, 1)
    assert events.held_bytes == 0
