"""The routes and what surrounds every handler: errors as plain text, counting, the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from endpoint_analytics.pipeline.serve import answers
from endpoint_analytics.pipeline.serve.application import Service
from endpoint_analytics.pipeline.serve.self_metrics import Route, SelfMetrics

Handler = Callable[[Request], Awaitable[Response]]

_LINES = {404: "no such page", 405: "this page takes GET and HEAD"}


def application(service: Service, *, on_stop: Callable[[], Awaitable[None]]) -> ASGIApp:
    """Return the ASGI application; `on_stop` is awaited when it shuts down."""
    pages: dict[str, tuple[Route, Handler]] = {
        "/v2/endpoint/{namespace}/{name}/open-metrics": ("open_metrics", service.open_metrics),
        "/health": ("health", service.alive),
        "/ready": ("ready", service.ready),
        "/metrics": ("metrics", service.own_metrics),
    }
    starlette = Starlette(
        # GET brings HEAD with it.
        routes=[StarletteRoute(path, handler, methods=["GET"]) for path, (_, handler) in pages.items()],
        exception_handlers={HTTPException: _http_error, Exception: _bug},
    )
    starlette.router.redirect_slashes = False
    named = {handler: route for route, handler in pages.values()}
    return Counted(starlette, named, service.metrics, service.clock, on_stop)


async def _http_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return answers.text(error.status_code, _LINES.get(error.status_code, error.detail), error.headers)


async def _bug(_request: Request, _error: Exception) -> Response:
    return answers.text(500, "a bug in the query service: its log has the traceback")


class Counted:
    """Counts every answer by route and status, and tells `on_stop` of the end."""

    def __init__(
        self,
        inner: ASGIApp,
        named: dict[Handler, Route],
        metrics: SelfMetrics,
        clock: Callable[[], float],
        on_stop: Callable[[], Awaitable[None]],
    ) -> None:
        self._inner = inner
        self._named = named
        self._metrics = metrics
        self._clock = clock
        self._on_stop = on_stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope of ASGI."""
        if scope["type"] == "lifespan":
            try:
                await self._inner(scope, receive, send)
            finally:
                await self._on_stop()
            return
        started_s = self._clock()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = self._named.get(scope.get("endpoint", _nothing), "other")
                self._metrics.count_request(route, message["status"], self._clock() - started_s)
            await send(message)

        await self._inner(scope, receive, counting)


async def _nothing(_request: Request) -> Response:
    return answers.text(404, _LINES[404])
