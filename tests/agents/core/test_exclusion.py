"""Which requests are left out: by their whole path, decoded and without a query."""

from __future__ import annotations

import pytest

from endpoint_analytics.agents.core.exclusion import is_excluded, path_of

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
        ("http://host:8000/health?x", "/health"),
        ("HTTPS://host", ""),
    ],
)
def test_the_path_of_a_target(target, path):
    assert path_of(target) == path


def test_a_path_is_compared_as_a_whole():
    assert is_excluded("/health", EXCLUDED)
    assert is_excluded("/bereit/ü", EXCLUDED)
    for path in ("/health/", "/healthz", "/", ""):
        assert not is_excluded(path, EXCLUDED)


@pytest.mark.parametrize(
    ("path", "prefix", "excluded"),
    [
        ("/api/health", "/api", True),  # uvicorn: the path includes root_path
        ("/health", "/api", True),  # hypercorn and granian: it does not
        ("/api/health", "", False),
        ("/apihealth", "/api", False),
        ("/apihttp://host/health", "/api", True),  # the absolute form through uvicorn with h11
        ("http://host/health", "", True),
        ("/api/healthz", "/api", False),
    ],
)
def test_below_a_prefix(path, prefix, excluded):
    assert is_excluded(path, EXCLUDED, prefix) is excluded


def test_the_whole_path_may_be_named_too():
    assert is_excluded("/api/health", frozenset({"/api/health"}), "/api")
