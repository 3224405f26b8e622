"""The ASGI middleware: one line for any application, microseconds per request.

    app.add_middleware(AnalyticsMiddleware, namespace="acme", endpoint="classifier")

It should be the outermost middleware (in Starlette and FastAPI: the one added last): only there can it ask the server
whether a client is still connected. Without arguments it reads ENDPOINT_ANALYTICS_* variables.

It never harms what it measures. Settings are checked at construction; but Starlette and FastAPI construct middlewares
at the first scope, where an exception turns every request into a 500. So invalid settings are reported to the server
at startup (`lifespan.startup.failed`: it exits with the reason); with a server without lifespan support, the
application is served without analytics. Later failures are logged, and change no response.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Awaitable, Callable

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.core.exclusion import is_excluded
from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.middleware.asgi_connection import Message, Receive, Send
from endpoint_analytics.agents.middleware.asgi_exchange import AsgiExchange
from endpoint_analytics.agents.middleware.asgi_handshake import Handshake
from endpoint_analytics.agents.middleware.asgi_lifespan import Lifespan, refuse_start
from endpoint_analytics.agents.middleware.harmless import report_bug
from endpoint_analytics.agents.middleware.middleware import Middleware
from endpoint_analytics.agents.outcome.watch import OutcomeWatcher
from endpoint_analytics.agents.replica.agent import Agent

App = Callable[[Message, Receive, Send], Awaitable[None]]

logger = logging.getLogger("endpoint_analytics")


class AnalyticsMiddleware(Middleware[App]):
    """Records every HTTP request to `app`, and each websocket that it refuses, except those for `exclude_paths`.

    Constructing it never raises: with invalid settings, `error` says why, and the lifespan startup fails.
    """

    def refused(self, error: ConfigurationError) -> None:
        """Serve without analytics, unless the server runs the lifespan startup."""
        self.error = error
        logger.error("requests are NOT recorded: %s", error)

    @property
    def agent(self) -> Agent | None:
        """The agent of this process; None before the first scope, or if it could not start."""
        return self.process.agent if self.process is not None else None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._serve_lifespan(scope, receive, send)
            return
        exchange = None
        try:
            process = self.process
            recorder = None if process is None else process.recorder or process.record()
            if recorder is not None and not (self._excluded and self._excludes(scope)):
                exchange = begin(kind, recorder, scope, receive, send, self._watcher)
        except Exception as error:  # noqa: BLE001  # any bug here is the middleware's
            report_bug(error)
        if exchange is None:
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException:
            exchange.failed()
            raise
        exchange.returned()

    def _excludes(self, scope: Message) -> bool:
        return is_excluded(scope.get("path", ""), self._excluded, scope.get("root_path", ""))

    async def _serve_lifespan(self, scope: Message, receive: Receive, send: Send) -> None:
        process = self.process
        if process is None:
            await refuse_start(str(self.error), receive, send)
            return
        agent = process.start()
        if agent is None:
            await self.app(scope, receive, send)
            return
        lifespan = Lifespan(agent, receive, send)
        try:
            await self.app(scope, lifespan.receive, lifespan.send)
        except Exception as error:
            if lifespan.is_supported:
                raise
            logger.info(
                "the application does not support lifespan (%r): the middleware answers instead", error
            )
        if not lifespan.is_supported:
            await lifespan.answer()
        if agent.has_stopped:
            # A test client may start the application again: that is another boot.
            atexit.unregister(agent.stop)
            process.forget()


def begin(
    kind: str,
    recorder: Recorder,
    scope: Message,
    receive: Receive,
    send: Send,
    watcher: OutcomeWatcher | None = None,
) -> AsgiExchange | Handshake | None:
    """Start recording a scope; None for a scope type that is not recorded."""
    if kind == "http":
        request = recorder.arrive()
        try:
            return AsgiExchange(request, scope, receive, send, watcher)
        except Exception:
            request.abort()
            raise
    return Handshake(recorder, receive, send) if kind == "websocket" else None
