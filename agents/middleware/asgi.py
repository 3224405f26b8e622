"""The ASGI middleware: one line beside any application, microseconds a request.

    app.add_middleware(AnalyticsMiddleware, namespace="acme", endpoint="classifier")

It should be the outermost middleware (in Starlette and FastAPI: the one added last): only there can it ask
the server whether a client is still connected. Without arguments it reads ENDPOINT_ANALYTICS_* variables.

It never harms what it measures. Settings are checked at construction; but Starlette and FastAPI construct their
middlewares at the first scope, where an exception makes each request a 500. So wrong settings are told to the server
when it asks for the start (`lifespan.startup.failed`: it ends, with the reason), and a server that never asks is served
without analytics. What fails later is reported in the log, and changes no answer.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Awaitable, Callable

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.core.exclusion import is_excluded
from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.middleware.asgi_connection import Message, Receive, Send
from endpoint_analytics.agents.middleware.asgi_exchange import Exchange
from endpoint_analytics.agents.middleware.asgi_handshake import Handshake
from endpoint_analytics.agents.middleware.asgi_lifespan import Lifespan, refuse_start
from endpoint_analytics.agents.middleware.harmless import report_bug
from endpoint_analytics.agents.middleware.middleware import Middleware
from endpoint_analytics.agents.replica.agent import Agent

App = Callable[[Message, Receive, Send], Awaitable[None]]

logger = logging.getLogger("endpoint_analytics")


class AnalyticsMiddleware(Middleware[App]):
    """Records every HTTP request of `app`, and each websocket that it refuses, but those of `exclude_paths`.

    Constructing it raises nothing: with settings that cannot work, `error` says why, and a server that asks whether
    the application may start is told no.
    """

    def refused(self, error: ConfigurationError) -> None:
        """Serve without analytics, unless the server asks whether it may start."""
        self.error = error
        logger.error("requests are NOT recorded: %s", error)

    @property
    def agent(self) -> Agent | None:
        """The agent of this process; None before the first scope, and where there is none."""
        return self.process.agent if self.process is not None else None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(scope, receive, send)
            return
        exchange = None
        try:
            process = self.process
            recorder = None if process is None else process.recorder or process.record()
            if recorder is not None and not (self._excluded and self._excludes(scope)):
                exchange = begin(kind, recorder, scope, receive, send)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is ours
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

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
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
            logger.info("the application knows no lifespan (%r): it is answered for it", error)
        if not lifespan.is_supported:
            await lifespan.answer()
        if agent.has_stopped:
            # A test client may bring the application up again: that is another boot.
            atexit.unregister(agent.stop)
            process.forget()


def begin(
    kind: str, recorder: Recorder, scope: Message, receive: Receive, send: Send
) -> Exchange | Handshake | None:
    """Begin to record a scope; None for one of a kind that is not recorded."""
    if kind == "http":
        request = recorder.arrive()
        try:
            return Exchange(request, scope, receive, send)
        except Exception:
            request.abort()
            raise
    return Handshake(recorder, receive, send) if kind == "websocket" else None
