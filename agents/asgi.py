"""The ASGI middleware: one line beside any application, microseconds a request.

    app.add_middleware(AnalyticsMiddleware, namespace="acme", endpoint="classifier")

It should be the outermost middleware (in Starlette and FastAPI: the one added last): only there can it ask
the server whether a client is still connected. Without arguments it reads ENDPOINT_ANALYTICS_* variables.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence

from endpoint_analytics.agents.agent import Agent
from endpoint_analytics.agents.config import AgentConfig, read_config
from endpoint_analytics.agents.connection import Message, Receive
from endpoint_analytics.agents.exchange import Exchange, Send
from endpoint_analytics.agents.exclusion import is_excluded
from endpoint_analytics.agents.lifespan import Lifespan
from endpoint_analytics.agents.process_agent import stop_at_exit
from endpoint_analytics.agents.producer import make_ssl_context
from endpoint_analytics.agents.recorder import Recorder

App = Callable[[Message, Receive, Send], Awaitable[None]]


class AnalyticsMiddleware:
    """Records every HTTP request of `app` but those of `exclude_paths`; other scopes pass untouched.

    `config` goes before the other arguments, which are those of `read_config`. Raises ConfigurationError
    at once when a setting is missing or wrong. The agent starts with the first scope in each process, so
    that servers may fork their workers after importing the application.
    """

    def __init__(
        self,
        app: App,
        namespace: str | None = None,
        endpoint: str | None = None,
        *,
        replica_id: str | None = None,
        kafka: str | None = None,
        topic_prefix: str | None = None,
        config: AgentConfig | None = None,
        flush_interval_s: float | None = None,
        hardware: bool | None = None,
        spool: str | None = None,
        exclude_paths: Sequence[str] | None = None,
    ) -> None:
        self.app = app
        self.config = config or read_config(
            namespace=namespace,
            endpoint=endpoint,
            replica_id=replica_id,
            kafka=kafka,
            topic_prefix=topic_prefix,
            flush_interval_s=flush_interval_s,
            hardware=hardware,
            spool=spool,
            exclude_paths=exclude_paths,
        )
        self._excluded = frozenset(self.config.exclude_paths)
        make_ssl_context(self.config.kafka)  # what cannot work is told now, not at the first request
        self.agent: Agent | None = None
        self._recorder: Recorder | None = None
        self._starting = threading.Lock()
        _forget_after_fork(self)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        kind = scope["type"]
        if kind == "http":
            recorder = self._recorder
            if recorder is None:
                recorder = self._begin_running()
            if self._excluded and is_excluded(scope.get("path"), self._excluded):
                await self.app(scope, receive, send)
                return
            exchange = Exchange(recorder.arrive(), scope, receive, send)
            try:
                await self.app(scope, exchange.receive, exchange.send)
            except Exception:
                exchange.failed()
                raise
            except BaseException:
                exchange.cancelled()
                raise
            exchange.returned()
        elif kind == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def forget(self) -> None:
        """Let go of the agent: in a forked child its thread does not exist, and the next scope starts one."""
        self.agent = self._recorder = None
        self._starting = threading.Lock()

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        agent = self._start()
        lifespan = Lifespan(agent, receive, send)
        try:
            await self.app(scope, lifespan.receive, lifespan.send)
        except Exception:
            if lifespan.is_supported:
                raise
        if not lifespan.is_supported:
            await lifespan.answer()
        if agent.has_stopped:
            # A test client may bring the application up again: that is another boot.
            atexit.unregister(agent.stop)
            self.forget()

    def _begin_running(self) -> Recorder:
        """Without a lifespan, the first request says that the replica runs."""
        agent = self._start()
        agent.enter("running")
        self._recorder = agent.recorder
        return agent.recorder

    def _start(self) -> Agent:
        with self._starting:
            if self.agent is None:
                self.agent = Agent(self.config)
                self.agent.start()
                stop_at_exit(self.agent)
            return self.agent


def _forget_after_fork(middleware: AnalyticsMiddleware) -> None:
    if hasattr(os, "register_at_fork"):
        reference = weakref.ref(middleware)

        def forget() -> None:
            forked = reference()
            if forked is not None:
                forked.forget()

        os.register_at_fork(after_in_child=forget)
