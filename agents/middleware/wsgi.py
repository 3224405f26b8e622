"""The WSGI middleware: one line around any application, microseconds per request.

    app.wsgi_app = WSGIAnalyticsMiddleware(app.wsgi_app, namespace="acme", endpoint="classifier")  # Flask
    application = WSGIAnalyticsMiddleware(get_wsgi_application())  # Django, settings from the environment

It should be the outermost middleware. WSGI has no startup event: the agent starts with a process's first request, or
when a server hook calls `start()` (wsgi_gunicorn does).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.core.exclusion import is_excluded
from endpoint_analytics.agents.middleware.harmless import report_bug
from endpoint_analytics.agents.middleware.middleware import Middleware
from endpoint_analytics.agents.middleware.wsgi_exchange import Environ, StartResponse, WsgiExchange

App = Callable[[Environ, StartResponse], Iterable[bytes]]

logger = logging.getLogger("endpoint_analytics")


class WSGIAnalyticsMiddleware(Middleware[App]):
    """Records every request to `app`, except those for `exclude_paths`.

    Constructing it raises ConfigurationError if a setting is missing or invalid: this aborts the server's startup. If
    the server would continue and answer every request with 500, the error is logged and stored in `error` instead, and
    the application is served without analytics.
    """

    def refused(self, error: ConfigurationError) -> None:
        """Abort the server's startup, or serve without analytics if raising would not abort it."""
        if not serves_without_application():
            raise error
        self.error = error
        logger.error("requests are NOT recorded: %s", error)

    def start(self) -> None:
        """This process starts serving: for a server hook that runs in each worker. Returns at once."""
        if self.process is not None:
            self.process.record()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        exchange = None
        try:
            process = self.process
            recorder = None if process is None else process.recorder or process.record()
            if recorder is not None and not (self._excluded and self._excludes(environ)):
                exchange = WsgiExchange(recorder.arrive(), environ, start_response, self._watcher)
        except Exception as error:  # noqa: BLE001  # any bug here is the middleware's
            report_bug(error)
        if exchange is None:
            return self.app(environ, start_response)
        try:
            body = self.app(environ, exchange.start_response)
        except Exception:
            exchange.failed()
            raise
        except BaseException:
            exchange.abort()
            raise
        return exchange.body(body)

    def _excludes(self, environ: Environ) -> bool:
        prefix = _text(environ.get("SCRIPT_NAME", ""))
        return is_excluded(prefix + _text(environ.get("PATH_INFO", "")), self._excluded, prefix)


def serves_without_application() -> bool:
    """Return whether this process's server keeps running and answers 500 if an application cannot be imported."""
    uwsgi = sys.modules.get("uwsgi")
    return "mod_wsgi" in sys.modules or (uwsgi is not None and not getattr(uwsgi, "opt", {}).get("need-app"))


def _text(value: str) -> str:
    """Return a path as in ASGI: WSGI passes UTF-8 bytes decoded as Latin-1 (PEP 3333)."""
    return value.encode("latin-1", "replace").decode("utf-8", "replace")
