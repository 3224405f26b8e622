"""Reads a streamed body: splits it into events, times those with content, and gathers what they say.

It never raises: with a bug, or with an event that is too long, it gives up; what it has timed until then stays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from msgspec.structs import replace

from endpoint_analytics.agents.outcome.body_facts import BodyFacts
from endpoint_analytics.agents.outcome.content_times import ContentTimes
from endpoint_analytics.agents.outcome.dialects import (
    OTHER,
    Dialect,
    ReadEvent,
    read_any,
    read_other,
    recognise,
)
from endpoint_analytics.agents.outcome.event_facts import EventFacts, plausible_model
from endpoint_analytics.agents.outcome.event_stream import NdjsonEvents, SseEvents
from endpoint_analytics.agents.outcome.repeated_piece import RepeatedPiece
from endpoint_analytics.agents.outcome.usage import UsageMembers, read_usage

MAX_UNRECOGNISED = 8
"""After so many events of no known dialect, the stream counts as of none."""


def _read_nothing(_name: bytes, _data: bytes) -> EventFacts | None:
    """Return None: no event fits a stream whose dialect is not known yet."""
    return None


class StreamReader:
    """Reads one streamed response; without `events` its bytes are only timed, such as those of an encoded body.

    `report` is called with the first exception that is a bug of ours.
    """

    __slots__ = (
        "_body_bytes",
        "_dialect",
        "_ended",
        "_events",
        "_failed",
        "_first_byte_ns",
        "_last_byte_ns",
        "_model",
        "_read_event",
        "_repeated",
        "_report",
        "_times",
        "_unrecognised",
        "_usage",
    )

    def __init__(self, events: SseEvents | NdjsonEvents | None, report: Callable[[Exception], None]) -> None:
        self._events = events
        self._report = report
        self._repeated: RepeatedPiece | None = RepeatedPiece()
        self._dialect: Dialect | None = None
        self._read_event: ReadEvent = _read_nothing
        self._unrecognised = 0
        self._body_bytes = 0
        self._first_byte_ns: int | None = None
        self._last_byte_ns = 0
        self._times = ContentTimes()
        self._ended = False
        self._failed = False
        self._usage: UsageMembers | None = None
        self._model: str | None = None

    def read(self, piece: bytes, at_ns: int) -> None:
        """Read a piece of the body that was sent at `at_ns`; raises nothing."""
        try:
            if not piece:
                return
            if self._first_byte_ns is None:
                self._first_byte_ns = at_ns
            self._last_byte_ns = at_ns
            self._body_bytes += len(piece)
            events = self._events
            if events is None:
                return
            if type(piece) is not bytes:
                piece = memoryview(piece).tobytes()
            repeated = self._repeated
            if repeated is not None:
                if not events.is_between:
                    repeated = None
                elif repeated.matches(piece):
                    self._times.add(at_ns)
                    self._ended = False
                    return
            found = events.feed(piece)
            for name, data in found:
                facts = self._read_event(name, data) or self._read_misfit(name, data)
                if facts.content:
                    self._times.add(at_ns)
                    self._ended = facts.is_end  # content after an end: it was not the stream's
                elif facts.is_end:
                    self._ended = True
                if facts.is_error:
                    self._failed = True
                usage = facts.usage
                if usage is not None and isinstance(usage, UsageMembers):
                    self._usage = usage.after(self._usage)
                if self._model is None:
                    self._model = plausible_model(facts.model)
            if repeated is not None and len(found) == 1 and events.is_between:
                self._learn(repeated, piece, facts)
            if events.gave_up:
                self._events = None
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._give_up(error)

    def end(self) -> BodyFacts:
        """Return the facts, once the body has ended or broken off; raises nothing."""
        try:
            body_bytes = self._body_bytes
            if self._events is not None:
                self.read(self._events.missing_end(), self._last_byte_ns)
            return self._facts(body_bytes)
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._give_up(error)
            return BodyFacts(streamed=True, body_bytes=self._body_bytes, first_byte_ns=self._first_byte_ns)

    def _learn(self, repeated: RepeatedPiece, piece: bytes, facts: EventFacts) -> None:
        """Let pieces that are like this one repeat its facts, if they are content and nothing more."""
        is_more = facts.is_end or facts.is_error or facts.usage is not None or self._dialect is None
        if facts.content and not is_more and not repeated.learn(piece):
            self._repeated = None

    def _read_misfit(self, name: bytes, data: bytes) -> EventFacts:
        """Read an event that does not fit the dialect, or that comes before the dialect is known."""
        if self._dialect is not None:
            return read_other(name, data)
        dialect = recognise(data)
        if dialect is None:
            self._unrecognised += 1
            if self._unrecognised < MAX_UNRECOGNISED:
                return read_any(name, data)
            dialect = OTHER
        self._dialect = dialect
        self._read_event = dialect.read
        return dialect.read(name, data) or read_any(name, data)

    def _facts(self, body_bytes: int) -> BodyFacts:
        is_known = self._events is not None
        times = self._times
        first_content_ns, last_content_ns = times.first_ns, times.last_ns
        ended: bool | None = None
        usage = self._usage
        if not is_known:
            if self._first_byte_ns is not None:
                first_content_ns = self._first_byte_ns if first_content_ns is None else first_content_ns
                last_content_ns = self._last_byte_ns
            usage = usage and usage.without_output()  # what was reported last may be unread
        elif self._ended:
            ended = True
        elif self._dialect is not None and self._dialect.has_end:
            ended = False
        tokens = read_usage(usage)
        is_estimated = is_known and tokens.output_tokens is None and times.events > 0
        if is_estimated:
            tokens = replace(tokens, output_tokens=times.events)
        return BodyFacts(
            streamed=True,
            body_bytes=body_bytes,
            first_byte_ns=self._first_byte_ns,
            first_content_ns=first_content_ns,
            last_content_ns=last_content_ns,
            events=times.events if is_known else None,
            max_gap_ns=times.max_gap_ns,
            gaps=times.gaps,
            ended=ended,
            failed=self._failed,
            usage=tokens,
            is_estimated=is_estimated,
            model=self._model,
        )

    def _give_up(self, error: Exception) -> None:
        self._events = None
        with suppress(Exception):
            self._report(error)
