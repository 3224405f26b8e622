"""Token counts, as the APIs report them and as we do. Unknown stays None, never 0; an absurd count is unknown.

`input_tokens` means the same for all APIs: all tokens of the prompt, cached ones included. OpenAI counts so;
Anthropic's `input_tokens` leave out those read from a cache and those written to one, which are added.

Sources: platform.openai.com/docs/api-reference (the `usage` of chat, completions, responses, embeddings);
docs.anthropic.com/en/api/messages (`usage`: the total input is the sum of the three input counts);
docs.sglang.ai (`reasoning_tokens` beside the counts); api-docs.deepseek.com (`prompt_cache_hit_tokens`); llama.cpp,
tools/server/README.md (`timings`).
"""

from __future__ import annotations

from typing import Any

import msgspec

MAX_TOKENS = 2**40
"""A larger count is absurd."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer; `cached_tokens` are part of the input, `reasoning_tokens` part of the output."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def or_else(self, other: Usage) -> Usage:
        """Return it with what it does not know from another."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Usage(*[theirs if ours is None else ours for ours, theirs in pairs])


NO_USAGE = Usage()


class UsageMembers(msgspec.Struct, frozen=True, gc=False):
    """The members of the `usage` objects of all APIs. APIs that have other names for them are read into these."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None
    reasoning_tokens: Any = None
    prompt_cache_hit_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    input_tokens_details: Any = None
    output_tokens_details: Any = None
    cache_creation_input_tokens: Any = None
    cache_read_input_tokens: Any = None

    def after(self, earlier: UsageMembers | None) -> UsageMembers:
        """Return what is known once this comes after an earlier one: its own members, and others as they were.

        OpenAI's usage is whole each time, and replaces the earlier one; Anthropic's last one may have the output alone.
        """
        if earlier is None or self.prompt_tokens is not None:
            return self
        both = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(earlier), strict=True)
        return UsageMembers(*[old if new is None else new for new, old in both])

    def without_output(self) -> UsageMembers:
        """Return it without the counts of what was generated."""
        return msgspec.structs.replace(
            self,
            completion_tokens=None,
            completion_tokens_details=None,
            reasoning_tokens=None,
            output_tokens=None,
            output_tokens_details=None,
        )


def usage_of_timings(timings: object) -> UsageMembers | None:
    """Return the tokens in llama.cpp's `timings`: `prompt_n` were processed, beside `cache_n` from the cache."""
    if not isinstance(timings, dict) or "predicted_n" not in timings:
        return None
    processed, cached = read_count(timings.get("prompt_n")), read_count(timings.get("cache_n"))
    return UsageMembers(
        prompt_tokens=None if processed is None or cached is None else processed + cached,
        completion_tokens=timings["predicted_n"],
        prompt_tokens_details={"cached_tokens": cached},
    )


def read_usage(members: UsageMembers | None) -> Usage:
    """Return the counts that the members report."""
    if members is None:
        return NO_USAGE
    return Usage(
        input_tokens=_input_tokens(members),
        output_tokens=_first_count(members.completion_tokens, members.output_tokens),
        cached_tokens=_first_count(
            _detail(members.prompt_tokens_details, "cached_tokens"),
            _detail(members.input_tokens_details, "cached_tokens"),
            members.cache_read_input_tokens,
            members.prompt_cache_hit_tokens,
        ),
        reasoning_tokens=_first_count(
            _detail(members.completion_tokens_details, "reasoning_tokens"),
            _detail(members.output_tokens_details, "reasoning_tokens"),
            _detail(members.output_tokens_details, "thinking_tokens"),
            members.reasoning_tokens,
        ),
    )


def read_count(value: object) -> int | None:
    """Return the count if it is a whole number from 0 to MAX_TOKENS."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MAX_TOKENS else None


def _input_tokens(members: UsageMembers) -> int | None:
    if members.prompt_tokens is not None:
        return read_count(members.prompt_tokens)
    parts = [members.input_tokens, members.cache_creation_input_tokens, members.cache_read_input_tokens]
    counts = [read_count(part) for part in parts if part is not None]
    if members.input_tokens is None or None in counts:
        return None
    return read_count(sum(count for count in counts if count is not None))


def _first_count(*values: object) -> int | None:
    """Return the first of the values that is there, if it is a count."""
    return next((read_count(value) for value in values if value is not None), None)


def _detail(details: object, name: str) -> object:
    return details.get(name) if isinstance(details, dict) else None
