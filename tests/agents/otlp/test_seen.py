"""A memory of recent ids, which is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.otlp.seen import Recent


@given(most=st.integers(2, 20), keys=st.lists(st.binary(max_size=1), unique=True))
def test_the_newest_half_is_remembered_and_never_more_than_all(most, keys):
    recent: Recent[int] = Recent(most)
    for number, key in enumerate(keys):
        recent.put(key, number)
        assert len(recent) <= most
        assert all(each in recent for each in keys[: number + 1][-(most // 2) :])


def test_pop():
    recent: Recent[int] = Recent(4)
    for number, key in enumerate((b"a", b"b", b"c")):
        recent.put(key, number)
    assert [recent.pop(key) for key in (b"a", b"c", b"c", b"x")] == [0, 2, None, None]
    assert b"b" in recent
