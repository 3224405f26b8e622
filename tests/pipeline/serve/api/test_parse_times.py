import pytest

from endpoint_analytics.pipeline.serve.api.parse_times import MomentError, parse_moment

NOW = 1_767_323_045.5


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("now-90s", NOW - 90),
        ("now-15m", NOW - 900),
        ("now-6h", NOW - 21_600),
        ("now-30d", NOW - 2_592_000),
        ("now-2w", NOW - 1_209_600),
        ("1767323045", 1_767_323_045),
        ("1767323045.25", 1_767_323_045.25),
        ("2026-01-02T03:04:05Z", 1_767_323_045),
        ("2026-01-02T03:04:05", 1_767_323_045),
        ("2026-01-02T05:04:05+02:00", 1_767_323_045),
        ("2026-01-02", 1_767_312_000),
    ],
)
def test_a_moment(text, moment):
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    ["", "then", "now+1h", "now-", "now-5", "now-1y", "-1", "1e9", "nan", "99999999999", "2026-13-01", "now-999999999w",
     "2026-01-02T03:04:05Z" + " " * 40, "\u0661\u0662"],
)  # fmt: skip
def test_no_moment(text):
    with pytest.raises(MomentError):
        parse_moment(text, NOW)
