"""What a whole body said, and when its parts were sent. Only data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_analytics.agents.outcome.usage import NO_USAGE, Usage


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """The facts of one response; times are on the caller's monotonic clock, None where there is none.

    `events`: events that carry content, None if they cannot be known; then `first_content_ns` and `last_content_ns` are
    the times of the first and the last byte. `gaps` counts, by bucket (schemas/sketch_buckets), the times between
    successive events with content: the events of one piece come at once, with gaps of 0, as the client sees them.

    `ended`: whether the end that the stream's dialect has was seen, None without such an end. `failed`: an event
    reported an error. `is_estimated`: the output's tokens were not reported; the events with content stand for them.
    """

    streamed: bool
    body_bytes: int = 0
    first_byte_ns: int | None = None
    first_content_ns: int | None = None
    last_content_ns: int | None = None
    events: int | None = None
    max_gap_ns: int | None = None
    gaps: Mapping[int, int] = field(default_factory=dict)
    ended: bool | None = None
    failed: bool = False
    usage: Usage = NO_USAGE
    is_estimated: bool = False
    model: str | None = None
