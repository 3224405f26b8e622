"""Request and trace ids from headers, whoever wrote them."""

import pytest

from endpoint_analytics.agents.outcome.identifiers import Identifiers, read_identifiers

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], Identifiers()),
        ([(b"x-request-id", b" a-1 ")], Identifiers("a-1")),
        ([(b"X-Correlation-Id", b"c")], Identifiers("c")),
        ([(b"x-request-id", b"first"), (b"x-correlation-id", b"second")], Identifiers("first")),
        ([(b"x-request-id", b"a\xff b")], Identifiers("a??b")),
        ([(b"x-request-id", b"a" * 200)], Identifiers("a" * 128)),
        ([(b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())], Identifiers("", TRACE)),
        ([(b"traceparent", f"00-{'0' * 32}-00f067aa0ba902b7-01".encode())], Identifiers()),
        ([(b"traceparent", b"nonsense")], Identifiers()),
        ([(b"x-other-name", b"a")], Identifiers()),
        ([("x-request-id", "a")], Identifiers()),
    ],
)
def test_identifiers(headers, found):
    assert read_identifiers(headers) == found
