"""The WSGI middleware: one line around any application, microseconds a request.

    app.wsgi_app = AnalyticsMiddleware(app.wsgi_app, namespace="acme", endpoint="classifier")  # Flask
    application = AnalyticsMiddleware(get_wsgi_application())  # Django, settings from the environment

It should be the outermost middleware. WSGI tells of no start: the agent starts with a process's first request,
or when the server's hook calls `start()` (agents.wsgi_gunicorn does).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from endpoint_analytics.agents.config import AgentConfig, read_config
from endpoint_analytics.agents.exclusion import is_excluded
from endpoint_analytics.agents.process_agent import ProcessAgent
from endpoint_analytics.agents.recorder import Recorder
from endpoint_analytics.agents.wsgi_exchange import Environ, StartResponse, WsgiExchange

App = Callable[[Environ, StartResponse], Iterable[bytes]]


class AnalyticsMiddleware:
    """Records every request of `app` but those of `exclude_paths`.

    `config` goes before the other arguments, which are those of `read_config`. Raises ConfigurationError
    at once when a setting is missing or wrong.
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
        self.process = ProcessAgent(self.config)
        self._recorder: Recorder | None = None
        if hasattr(os, "register_at_fork"):
            reference = weakref.ref(self)

            def forget() -> None:
                forked = reference()
                if forked is not None:
                    forked._recorder = None  # noqa: SLF001  # our own

            os.register_at_fork(after_in_child=forget)

    def start(self) -> None:
        """This process serves from now on: for a server's hook that runs in each worker. Returns at once."""
        agent = self.process.start()
        agent.enter("running")
        self._recorder = agent.recorder

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if self._recorder is None:
            self.start()
        if self._excluded and is_excluded(_path(environ), self._excluded):
            return self.app(environ, start_response)
        recorder: Any = self._recorder
        exchange = WsgiExchange(recorder.arrive(), environ, start_response)
        try:
            body = self.app(environ, exchange.start_response)
        except Exception:
            exchange.failed()
            raise
        except BaseException:
            exchange.abort()
            raise
        return exchange.body(body)


def _path(environ: Environ) -> str:
    """Return the path as ASGI gives it: WSGI hands the bytes of UTF-8 on as if they were Latin-1 (PEP 3333)."""
    path: str = environ.get("PATH_INFO", "")
    return path.encode("latin-1", "replace").decode("utf-8", "replace")
