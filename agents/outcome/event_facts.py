"""What one event of a streamed response says. What the readers of all dialects share; no dialect is here.

The readers decode with msgspec, which skips the members that are not asked for. A member whose type servers may get
wrong is typed as `Any`, or as its own type or `Junk`, so that it cannot make the rest of its event unreadable.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from endpoint_analytics.agents.outcome.usage import UsageMembers

Junk: TypeAlias = bool | int | float | str | list[Any] | None
"""All JSON but an object."""

UNREADABLE = (ValueError, RecursionError)
"""What decoding hostile bytes raises: msgspec's errors and UnicodeDecodeError are ValueErrors."""

MAX_MODEL_CHARACTERS = 256
"""A longer name of a model is none."""


class EventFacts(msgspec.Struct, frozen=True, gc=False):
    """`content`: it carries a part of the answer; `is_end`: the protocol's own end; `is_error`: an error is reported.

    `usage` and `model` are what the event has there: to be checked once, not for each event (`UsageMembers.after`,
    `plausible_model`).
    """

    content: bool
    is_end: bool = False
    is_error: bool = False
    usage: UsageMembers | Junk = None
    model: object = None


NOTHING = EventFacts(content=False)
CONTENT = EventFacts(content=True)
END = EventFacts(content=False, is_end=True)
ERROR = EventFacts(content=False, is_error=True)


def is_error(member: object) -> bool:
    """Return whether a member `error` reports one: an object or a text, not empty (a number may be a loss)."""
    return isinstance(member, dict | str) and bool(member)


def plausible_model(model: object) -> str | None:
    """Return the model's name if it can be one."""
    return model if isinstance(model, str) and 0 < len(model) <= MAX_MODEL_CHARACTERS else None
