"""Serves the cases of the outcome suite, by ASGI and by WSGI: X-Case names the case, X-How how its response ends.

`whole`: as its API ends it; `cut`: the server ends the response behind the first event with content; `raise`: it breaks
there; `linger`: that event comes again and again, until the client has gone.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

from tests.agents.outcome.cases import CASES, Case

AGAIN, AGAIN_S = 1_000, 0.01

enough = threading.Event()
"""Set once nobody lingers any more: ASGI servers do not tell an application that only sends."""


class BrokenError(Exception):
    """The application's own."""


def pieces_of(case: Case, how: str) -> Sequence[bytes]:
    return case.pieces if how == "whole" else case.pieces[: case.begun]


async def asgi(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = dict(scope["headers"])
    case, how = CASES[headers[b"x-case"].decode()], headers[b"x-how"].decode()
    while (await receive()).get("more_body"):
        pass
    kind = [(b"content-type", case.content_type.encode())]
    await send({"type": "http.response.start", "status": case.status, "headers": kind})
    pieces = pieces_of(case, how)
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if how == "linger":
        for _ in range(AGAIN):
            await asyncio.sleep(AGAIN_S)
            if enough.is_set():
                break
            await send({"type": "http.response.body", "body": pieces[-1], "more_body": True})
    if how == "raise":
        raise BrokenError
    await send({"type": "http.response.body"})


def wsgi(environ, start_response) -> Iterator[bytes]:
    case, how = CASES[environ["HTTP_X_CASE"]], environ["HTTP_X_HOW"]
    environ["wsgi.input"].read()
    start_response(f"{case.status} Status", [("Content-Type", case.content_type)])
    pieces = pieces_of(case, how)
    yield from pieces
    if how == "linger":
        for _ in range(AGAIN):
            time.sleep(AGAIN_S)
            if enough.is_set():
                break
            yield pieces[-1]
    if how == "raise":
        raise BrokenError
