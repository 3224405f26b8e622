"""Names are bounded, and make room for others once they are unused."""

from endpoint_analytics.agents.outcome.names import UNUSED_NS, Names


def test_names_beyond_the_limit_are_other():
    names = Names(2)
    assert [names.name(text, 1) for text in ("a", "b", "c", "a", "")] == ["a", "b", "other", "a", ""]


def test_an_unused_name_makes_room():
    names = Names(2)
    names.name("a", 0)
    names.name("b", UNUSED_NS)
    assert names.name("c", UNUSED_NS + 1) == "c"
    assert names.name("b", UNUSED_NS + 1) == "b"
    assert names.name("a", UNUSED_NS + 1) == "other"


def test_a_name_is_short_and_has_no_control_characters():
    assert Names(9).name("a\n\x00b" + "x" * 200, 0) == "a  b" + "x" * 124
    assert Names(9).name("\ud800", 0) == "?"
