"""What a server itself tells of a request: in a call, or in a response header. It counts before what its body says.

    tell(scope, model="llama-3", input_tokens=812)          # ASGI; WSGI: tell(environ, ...)
    X-Endpoint-Analytics: model=llama-3; input_tokens=812   # any server

Unknown names and invalid values are passed over: a served model is never harmed.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import msgspec

from endpoint_analytics.agents.outcome.details import RequestDetails
from endpoint_analytics.agents.outcome.usage import read_count

KEY = "endpoint_analytics.told"
"""The member of an ASGI scope or a WSGI environ."""
_NAMES = ("route", "model", "caller")
_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


def tell(
    scope: MutableMapping[str, Any],
    *,
    route: str | None = None,
    model: str | None = None,
    caller: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cached_tokens: int | None = None,
    reasoning_tokens: int | None = None,
) -> None:
    """Tell the middleware about a request, before its response ends; a later call adds to an earlier one.

    `scope` is the ASGI scope (`request.scope` in Starlette and FastAPI), or the WSGI environ (`request.environ` in
    Flask, `request.META` in Django). Names are kept only of `dimensions` that are switched on.
    """
    given = {
        "route": route, "model": model, "caller": caller, "input_tokens": input_tokens, "output_tokens": output_tokens,
        "cached_tokens": cached_tokens, "reasoning_tokens": reasoning_tokens,
    }  # fmt: skip
    scope.setdefault(KEY, {}).update({name: value for name, value in given.items() if value is not None})


def read_told(header: bytes, details: RequestDetails) -> None:
    """Take the values of an X-Endpoint-Analytics header: pairs of name=value, separated by semicolons."""
    pairs = (pair.partition("=") for pair in header.decode("latin-1").split(";"))
    take({name.strip(): value.strip() for name, _, value in pairs}, details)


def take(told: Mapping[str, object], details: RequestDetails) -> None:
    """Take what was told."""
    for name in _NAMES:
        if isinstance(value := told.get(name), str) and value:
            setattr(details, name, value)
    counts = {name: _count(told[name]) for name in _TOKENS if name in told}
    known = {name: count for name, count in counts.items() if count is not None}
    if known:
        details.usage = msgspec.structs.replace(details.usage, **known)


def _count(value: object) -> int | None:
    return read_count(
        int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 14 else value
    )
