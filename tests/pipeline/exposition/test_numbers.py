"""Numbers as text: each parses back to the same number, one by one and many at once."""

import math

from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.exposition.numbers import number_text, number_texts

NUMBERS = st.one_of(st.floats(), st.integers(-(2**70), 2**70))


def same(text: str, number: float) -> bool:
    if isinstance(number, int):
        return text == str(number)
    return math.isnan(float(text)) if math.isnan(number) else float(text) == number


@given(st.lists(NUMBERS, max_size=8))
def test_each_is_the_same_alone_and_among_others(numbers):
    texts = number_texts(numbers)
    assert len(texts) == len(numbers)
    for number, text in zip(numbers, texts, strict=True):
        assert same(text, number)
        assert same(number_text(number), number)


def test_what_is_not_finite_has_the_names_of_the_formats():
    assert number_texts([math.inf, -math.inf, math.nan, 0.5, 3]) == ["+Inf", "-Inf", "NaN", "0.5", "3"]
    assert number_texts([1e22, 1.0, 2**53, 2**64]) == ["1e+22", "1.0", str(2**53), str(2**64)]
    assert [float(text) for text in number_texts([1e22, 5e-324, -0.0])] == [1e22, 5e-324, -0.0]
