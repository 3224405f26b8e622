"""The identifiers that a request carries in its headers, so that it can be found elsewhere. Pure.

Sources: X-Request-Id is a convention of proxies and frameworks; traceparent is W3C Trace Context, section 3.2.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from endpoint_analytics.agents.core.recorder import Headers
from endpoint_analytics.schemas.limits import MAX_ID_LENGTH

_REQUEST_ID = (b"x-request-id", b"x-correlation-id")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_UNPRINTABLE = re.compile(rb"[^\x21-\x7e]")
_NO_TRACE = b"0" * 32


class Identifiers(NamedTuple):
    """Empty where the request has none."""

    request_id: str = ""
    trace_id: str = ""


def read_identifiers(headers: Headers) -> Identifiers:
    """Return the identifiers among headers, whose names may be in any case."""
    request_id = trace_id = ""
    for name, value in headers:
        if not (isinstance(name, bytes) and isinstance(value, bytes)) or len(name) not in {11, 12, 16}:
            continue  # some servers and test clients have texts
        lower = name.lower()
        if lower in _REQUEST_ID and not request_id:
            request_id = _UNPRINTABLE.sub(b"?", value.strip())[:MAX_ID_LENGTH].decode("ascii")
        elif lower == b"traceparent":
            found = _TRACEPARENT.fullmatch(value.strip())
            if found and found[1] != _NO_TRACE:
                trace_id = found[1].decode("ascii")
    return Identifiers(request_id, trace_id)
