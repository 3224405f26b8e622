"""What a capture method learns of a request besides its phases: names, sizes, and what its response's body said.

Only data belongs here. `RecordedRequest.details` has it, where it is asked for (`outcomes` in AgentConfig).
"""

from __future__ import annotations

from endpoint_analytics.agents.outcome.body_facts import BodyFacts
from endpoint_analytics.agents.outcome.usage import NO_USAGE, Usage


class RequestDetails:
    """Filled in while the request is served, complete when it ends. Empty names and None are unknown."""

    __slots__ = (
        "body",
        "caller",
        "is_estimated",
        "model",
        "request_bytes",
        "response_bytes",
        "route",
        "usage",
    )

    def __init__(self) -> None:
        self.route = self.model = self.caller = ""
        self.request_bytes: int | None = None
        self.response_bytes: int | None = None
        self.body: BodyFacts | None = None
        self.usage: Usage = NO_USAGE
        """What the server told of its tokens, or else the body."""
        self.is_estimated = False
        """Whether nobody told the output tokens, and events with content stand for them."""
