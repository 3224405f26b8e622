"""Token counts of all APIs: the same meaning, and nothing made up."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.outcome.usage import (
    MAX_TOKENS,
    Usage,
    UsageMembers,
    read_count,
    read_usage,
    usage_of_timings,
)


def members(**usage) -> UsageMembers:
    return msgspec.json.decode(msgspec.json.encode(usage), type=UsageMembers)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, Usage()),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8)),
        ({"prompt_tokens": 8, "completion_tokens": 0}, Usage(8, 0)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(9, 2)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(9, None, 4)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}, Usage(9, None, 4)),
        (
            {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}},
            Usage(None, 9, None, 4),
        ),
        ({"completion_tokens": 9, "reasoning_tokens": 4}, Usage(None, 9, None, 4)),
        ({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}}, Usage(9, None, 4)),
        ({"output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 4}}, Usage(None, 9, None, 4)),
        ({"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}, Usage(None, 9, None, 4)),
        (
            {"input_tokens": 1, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 100},
            Usage(111, None, 100),
        ),
        (
            {"input_tokens": 1, "cache_creation_input_tokens": None, "cache_read_input_tokens": 0},
            Usage(1, None, 0),
        ),
        ({"input_tokens": 1, "cache_read_input_tokens": -3}, Usage()),
        ({"cache_read_input_tokens": 3}, Usage(None, None, 3)),
        ({"prompt_tokens": 9, "input_tokens": 1, "cache_read_input_tokens": 8}, Usage(9, None, 8)),
    ],
)
def test_usage_means_the_same_for_all(usage, expected):
    assert read_usage(members(**usage)) == expected


def test_no_usage_is_unknown():
    assert read_usage(None) == Usage(None, None, None, None)


@pytest.mark.parametrize(
    "absurd", [-1, MAX_TOKENS + 1, 10**30, True, False, 1.5, float("inf"), "7", [7], {"n": 7}, None]
)
def test_an_absurd_count_is_unknown(absurd):
    assert read_count(absurd) is None


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (7, 7), (7.0, 7), (MAX_TOKENS, MAX_TOKENS)])
def test_whole_numbers_are_counts(count, expected):
    assert read_count(count) == expected
    assert type(read_count(count)) is int


def test_later_usage_replaces_all_of_an_earlier_one():
    earlier = members(prompt_tokens=9, completion_tokens=1, reasoning_tokens=1)
    assert read_usage(members(prompt_tokens=9, completion_tokens=2).after(earlier)) == Usage(9, 2)


def test_a_later_part_leaves_the_rest_as_it_was():
    start = members(input_tokens=25, cache_read_input_tokens=100, cache_creation_input_tokens=7)
    assert read_usage(members(output_tokens=15).after(start)) == Usage(132, 15, 100)
    assert read_usage(members(input_tokens=30, output_tokens=15).after(start)) == Usage(137, 15, 100)


@pytest.mark.parametrize(
    ("timings", "expected"),
    [
        ({"cache_n": 24, "prompt_n": 4, "predicted_n": 2}, Usage(28, 2, 24)),
        ({"prompt_n": 4, "predicted_n": 2}, Usage(None, 2)),  # older versions do not say what was cached
    ],
)
def test_timings_of_llama_cpp_are_usage(timings, expected):
    assert read_usage(usage_of_timings(timings)) == expected


@pytest.mark.parametrize("timings", [None, 7, [], {}, {"prompt_ms": 3}])
def test_other_timings_are_none(timings):
    assert usage_of_timings(timings) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(UsageMembers.__struct_fields__), json_values))
def test_any_members_are_counts_or_unknown(usage):
    for count in msgspec.structs.astuple(read_usage(UsageMembers(**usage))):
        assert count is None or (type(count) is int and 0 <= count <= MAX_TOKENS)
