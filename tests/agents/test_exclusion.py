"""Which requests are left out: by their whole path, decoded and without a query."""

from __future__ import annotations

import pytest

from endpoint_analytics.agents.exclusion import is_excluded, path_of

EXCLUDED = frozenset({"/health", "/bereit/ü"})


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/health", "/health"),
        ("/health?full=1", "/health"),
        ("/he%61lth", "/health"),
        ("/health%3Fx", "/health?x"),
        ("/bereit/%C3%BC", "/bereit/ü"),
        ("/bereit/%FC", "/bereit/\ufffd"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_the_path_of_a_target(target, path):
    assert path_of(target) == path


def test_a_path_is_compared_as_a_whole():
    assert is_excluded("/health", EXCLUDED)
    assert is_excluded("/bereit/ü", EXCLUDED)
    for path in ("/health/", "/healthz", "/", "", None):
        assert not is_excluded(path, EXCLUDED)
