"""The routes, and what wraps every handler: errors, the head size limit, request counts, startup and shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from endpoint_analytics.pipeline.serve.api.handlers import Api
from endpoint_analytics.pipeline.serve.api.json_responses import failure, status_failure
from endpoint_analytics.pipeline.serve.api.query import QueryError
from endpoint_analytics.pipeline.serve.application import Service
from endpoint_analytics.pipeline.serve.http import responses
from endpoint_analytics.pipeline.serve.scrape.self_metrics import Route, SelfMetrics
from endpoint_analytics.pipeline.serve.static.static_files import read_static_files
from endpoint_analytics.pipeline.serve.static.static_pages import StaticPages

Handler = Callable[[Request], Awaitable[Response]]

MAX_HEAD_BYTES = 16 * 1024

_LINES = {404: "no such path", 405: "this path does not allow this method"}
_JSON_PATHS = ("/v2/", "/apis/", "/session", "/openapi.json")


def application(
    service: Service,
    api: Api,
    *,
    while_serving: Sequence[Callable[[], Coroutine[Any, Any, None]]],
    on_stop: Callable[[], Awaitable[None]],
) -> ASGIApp:
    """Return the ASGI application.

    Each of `while_serving` runs alongside it and is cancelled at shutdown; then `on_stop` is awaited.
    """
    pages: dict[str, tuple[Route, Handler]] = {
        "/v2/endpoint/{namespace}/{name}/open-metrics": ("open_metrics", service.open_metrics),
        "/v2/endpoint/{namespace}/open-metrics": ("open_metrics", service.namespace_open_metrics),
        "/v2/open-metrics": ("open_metrics", service.all_open_metrics),
        "/health": ("health", service.alive),
        "/ready": ("ready", service.ready),
        "/metrics": ("metrics", service.own_metrics),
    }

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        background = [asyncio.create_task(work()) for work in while_serving]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await on_stop()

    # A GET route also answers HEAD.
    routes = [StarletteRoute(path, handler, methods=["GET"]) for path, (_, handler) in pages.items()]
    named = {handler: route for route, handler in pages.values()}
    for path, handlers in api.routes().items():
        handler = handlers["GET"] if len(handlers) == 1 else _by_method(handlers)
        routes.append(StarletteRoute(path, handler, methods=list(handlers)))
        named[handler] = "session" if path == "/session" else "api"
    for path, handler in StaticPages(read_static_files()).routes().items():
        routes.append(StarletteRoute(path, handler, methods=["GET"]))
        named[handler] = "page"
    starlette = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _http_error, Exception: _bug},
        lifespan=lifespan,
    )
    starlette.router.redirect_slashes = False
    return Guard(starlette, named, service.metrics, service.clock)


def _by_method(handlers: dict[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return handle


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    line = _LINES.get(error.status_code, error.detail)
    return _failed(request.url.path, error.status_code, line, "path", error.headers)


async def _bug(request: Request, _error: Exception) -> Response:
    line = "internal error: this is a bug in the query service; its log has the traceback"
    return _failed(request.url.path, 500, line, "service")


def _failed(
    path: str, status: int, line: str, where: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error in the form that the other errors of this path have."""
    if path.endswith("/open-metrics") or not path.startswith(_JSON_PATHS):
        return responses.text(status, line, headers)
    error = QueryError(line, where, "see /openapi.json", status)
    response = status_failure(error) if path.startswith("/apis/") else failure(error)
    response.headers.update(headers or {})
    return response


class Guard:
    """Refuses a request whose head is too large, and counts every answer by route and status."""

    def __init__(
        self,
        inner: ASGIApp,
        named: dict[Handler, Route],
        metrics: SelfMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._inner = inner
        self._named = named
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        started_s = self._clock()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = self._named.get(scope.get("endpoint", _nothing), "other")
                self._metrics.count_request(route, message["status"], self._clock() - started_s)
            await send(message)

        if _head_bytes(scope) > MAX_HEAD_BYTES:
            line = f"the request head is larger than {MAX_HEAD_BYTES} bytes"
            refusal = _failed(scope["path"], 431, line, "head")
            await refusal(scope, receive, counting)
        else:
            await self._inner(scope, receive, counting)


def _head_bytes(scope: Scope) -> int:
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return headers + len(scope["raw_path"]) + len(scope["query_string"])


async def _nothing(_request: Request) -> Response:
    return responses.text(404, _LINES[404])
