"""The demo endpoint: an ordinary Starlette application, with analytics added in one line (see `create`).

POST /predict          returns the type of the body; with ?min_score=0.9, "unknown" for lower scores
POST /predict/stream   returns the types of several parts, each while the next is still being sent
GET  /health           200 once the model is loaded
GET  /metrics          the serving engine's own metrics; not counted as a request
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from endpoint_analytics import AnalyticsMiddleware
from endpoint_analytics.infra.local.demo import engine_metrics
from endpoint_analytics.infra.local.demo.inference import Inference, OverloadedError
from endpoint_analytics.infra.local.demo.model import Classification, Model

MAX_BODY_BYTES = 256 * 1024
MAX_PARTS = 64
WARM_UP = 40
PART_END = b"\n---\n"
CLIENT_CLOSED_REQUEST = 499


def create() -> Starlette:
    """Return the application, for `uvicorn --factory`."""
    app = Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/predict/stream", predict_stream, methods=["POST"]),
            Route("/health", health),
            Route(engine_metrics.PATH, engine_metrics.metrics),
            Route("/", lambda _: RedirectResponse("/health")),
        ],
        exception_handlers={OverloadedError: overloaded, ClientDisconnect: gone},
        lifespan=lifespan,
    )
    app.add_middleware(
        AnalyticsMiddleware, namespace="demo", endpoint="magika", exclude_paths=[engine_metrics.PATH]
    )
    return app


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Load the model and warm it up before the replica runs."""
    app.state.inference = Inference(Model())
    for _ in range(WARM_UP):
        await app.state.inference.detect(b"print('warm')\n" * 8)
    yield
    app.state.inference.close()


async def predict(request: Request) -> Response:
    """Return the type of the whole body."""
    min_score = read_min_score(request.query_params.get("min_score", "0"))
    body = await read_body(request)
    if not body:
        raise HTTPException(400, "the body is empty: send the content whose type you want to know")
    verdict = await request.app.state.inference.detect(body)
    return Response(render(verdict, min_score), media_type="application/json")


async def predict_stream(request: Request) -> Response:
    """Return a line for each part of the body as soon as the part has arrived."""
    parts = read_parts(request)
    try:
        first = await anext(parts)
    except StopAsyncIteration:
        raise HTTPException(400, "the body is empty: send parts with a line '---' between them") from None
    inference: Inference = request.app.state.inference
    verdict = await inference.detect(first)

    async def lines() -> AsyncIterator[bytes]:
        yield render(verdict)
        with suppress(ClientDisconnect):  # nobody is left to read the rest
            async for part in parts:
                yield render(await inference.detect(part, admitted=True))

    return InputLines(lines())


class InputLines(Response):
    """Sends lines as they are produced.

    Starlette's StreamingResponse waits for the client's disconnect on the channel from which the body is still being
    read, and would consume pieces of the body.
    """

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the lines; if the client has disconnected, reading its body ends."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for line in self._lines:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def health(_request: Request) -> Response:
    """Return 200: the server only listens once the model is loaded."""
    return Response(b'{"status":"ok"}\n', media_type="application/json")


async def overloaded(_request: Request, _error: Exception) -> Response:
    """Return 503, with a Retry-After header."""
    return Response("the queue is full\n", 503, {"Retry-After": "1"}, "text/plain")


async def gone(_request: Request, _error: Exception) -> Response:
    """Return a response that nobody reads: the client has disconnected."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def read_min_score(text: str) -> float:
    """Return the requested minimum score, 0 to 1; anything else is a 422."""
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise HTTPException(422, f"min_score is {text[:20]!r}; expected a number from 0 to 1")
    return score


async def read_body(request: Request) -> bytes:
    """Return the body; 413 if it is, or is declared to be, too large."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise HTTPException(413, f"a body must not exceed {MAX_BODY_BYTES} bytes")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"a body must not exceed {MAX_BODY_BYTES} bytes")
    return bytes(body)


async def read_parts(request: Request) -> AsyncIterator[bytes]:
    """Yield the body's parts as they arrive, at most MAX_PARTS; the last one needs no terminator."""
    held, count = b"", 0
    async for piece in request.stream():
        *whole, held = (held + piece).split(PART_END)
        for part in whole:
            if part and count < MAX_PARTS:
                count += 1
                yield part
        held = held[-MAX_BODY_BYTES:]
    if held and count < MAX_PARTS:
        yield held


def render(verdict: Classification, min_score: float = 0.0) -> bytes:
    """Return one line of JSON."""
    label = verdict.label if verdict.score >= min_score else "unknown"
    return orjson.dumps({"label": label, "score": verdict.score}) + b"\n"
