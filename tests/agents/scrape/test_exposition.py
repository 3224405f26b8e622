"""The parser: wanted samples and nothing else, as prometheus_client reads them; garbage is counted, never fatal."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from tests.agents.scrape import expositions

from endpoint_analytics.agents.scrape.exposition import (
    MAX_SAMPLES,
    ExpositionError,
    ScrapedSample,
    parse_exposition,
)

ENGINES = {name: text for name, text in vars(expositions).items() if name.isupper()}


class Any:
    """Every name is wanted."""

    def __contains__(self, name: object) -> bool:
        return True


def samples(text: str, *wanted: str):
    return parse_exposition(text, set(wanted)).samples


@pytest.mark.parametrize("text", ENGINES.values(), ids=ENGINES)
def test_every_engines_answer_is_read_as_the_reference_parser_reads_it(text):
    expected = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # It names a counter with _total, whatever the text said.
            name = sample.name if f"\n{sample.name}" in text else sample.name.removesuffix("_total")
            expected.setdefault(name, []).append(ScrapedSample(sample.labels, sample.value))
    found = parse_exposition(text, Any())
    assert found.malformed == 0
    assert found.samples == expected


def test_openmetrics_with_timestamps_and_exemplars():
    text = (
        "# TYPE a counter\n# UNIT a bytes\n"
        'a_total{path="x"} 5.0 1700000000.123 # {trace_id="KOO5S4vxi0o"} 0.67 1700000000.0\n'
        "a_created 1.7e9\n# EOF\n"
    )
    found = samples(text, "a_total")
    (family,) = openmetrics_families(text.replace("# UNIT a bytes\n", ""))
    assert found == {"a_total": [ScrapedSample({"path": "x"}, family.samples[0].value)]}


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ("a 1", ScrapedSample({}, 1.0)),
        ("a\t1.5e3", ScrapedSample({}, 1500.0)),
        ("  a {} -.5 1395066363000", ScrapedSample({}, -0.5)),
        ('a{b="c",} 1', ScrapedSample({"b": "c"}, 1.0)),
        ('a{ b = "c" , d="e"} +2.', ScrapedSample({"b": "c", "d": "e"}, 2.0)),
        (r'a{b="x\"y\\z\nw"} 3', ScrapedSample({"b": 'x"y\\z\nw'}, 3.0)),
        ('a{b="} 7"} 3\r', ScrapedSample({"b": "} 7"}, 3.0)),
        ('a{b="é"} 3', ScrapedSample({"b": "é"}, 3.0)),
    ],
)
def test_lines_that_are_samples(line, sample):
    found = parse_exposition(f"x 9\n{line}\ny 9\n", {"a"})
    assert (found.samples, found.malformed) == ({"a": [sample]}, 0)


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a one",
        "a 1_000",
        "a 0x10",
        "a 1 2 3",
        "a{b} 1",
        'a{b="c} 1',
        'a{b="c" d="e"} 1',
        'a{b="c",b="d"} 1',
        'a{b="c"}1x',
        'a{1b="c"} 1',
        "a{b='c'} 1",
        "a}1",
        "a 1 # exemplar",
    ],
)
def test_lines_that_are_none_are_counted_and_leave_the_others(line):
    found = parse_exposition(f"{line}\nb 2\n", {"a", "b"})
    assert (found.samples, found.malformed) == ({"b": [ScrapedSample({}, 2.0)]}, 1)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "nan", "inf"])
def test_what_is_no_number_is_left_out_and_no_fault(value):
    found = parse_exposition(f"a {value}\n", {"a"})
    assert (found.samples, found.malformed) == ({}, 0)


def test_names_that_only_begin_alike_are_others():
    assert samples("a_total 1\nab 2\na:b 3\n", "a") == {}
    assert samples("# TYPE a gauge\n# a 1\n#a 1\n", "a") == {}


def test_more_samples_than_an_engine_has_are_refused():
    text = "".join(f'a{{n="{n}"}} 1\n' for n in range(MAX_SAMPLES + 1))
    with pytest.raises(ExpositionError, match="more than 10000 samples"):
        parse_exposition(text, {"a"})
    assert len(parse_exposition(text, set()).samples) == 0


label_names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,6}", fullmatch=True)
label_values = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12)
values = st.floats(allow_nan=False, allow_infinity=False)


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@given(st.lists(st.tuples(st.dictionaries(label_names, label_values, max_size=4), values), max_size=5))
def test_whatever_is_written_as_the_format_says_comes_back(rows):
    lines = [
        "a{" + ",".join(f'{name}="{escaped(text)}"' for name, text in labels.items()) + f"}} {value!r}\n"
        for labels, value in rows
    ]
    found = parse_exposition("# TYPE a gauge\n" + "".join(lines), {"a"})
    assert found.malformed == 0
    assert found.samples.get("a", []) == [ScrapedSample(labels, value) for labels, value in rows]


words = st.sampled_from(
    ["a", "a{", "}", '"', "\\", "=", ",", " ", "\t", "\n", "1", "NaN", "#", '{b="c"}', "\x00", "é"]
)


@given(st.one_of(st.text(max_size=200), st.lists(words, max_size=40).map("".join)))
def test_no_garbage_is_fatal_nor_made_into_a_number(text):
    found = parse_exposition(text, {"a"})
    lines = re.findall(r"^[ \t]*a(?![a-zA-Z0-9_:])", text, re.MULTILINE)
    assert found.malformed + sum(map(len, found.samples.values())) <= len(lines)
    for sample in found.samples.get("a", []):
        assert math.isfinite(sample.value)


def test_a_long_line_of_garbage_takes_no_longer_than_its_length():
    line = 'a{b="' + "\\" * 200_001 + '"' * 5 + ",=" * 100_000 + "} 1\n"
    assert parse_exposition(line * 3, {"a"}).malformed == 3
