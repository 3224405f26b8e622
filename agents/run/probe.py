"""The readiness probe: a thread that polls a URL until the server is ready. It does not change the replica's state."""

from __future__ import annotations

import http.client
import threading

from endpoint_analytics.agents.scrape.engine_tls import EngineTls, explained
from endpoint_analytics.schemas.configuration.settings import ConfigurationError, parse_url, shown_value

EVERY_S = 0.25
ANSWER_WITHIN_S = 5.0
"""Some servers are slow: SGLang's /health generates a token, so it takes at least a second."""


class ReadyProbe:
    """Polls `url` until it answers with a status below 400; verifies its certificate as for the engine's metrics.

    Raises ConfigurationError if it is not an http or https URL.
    """

    def __init__(self, url: str, tls: EngineTls | None = None, every_s: float = EVERY_S) -> None:
        parts = parse_url("--ready-url", url, error=_invalid)
        self.url = url
        self.last_error = "not probed yet"
        self._tls = (tls or EngineTls()) if parts.scheme == "https" else None
        self._host, self._port = parts.hostname or "", parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._every_s = every_s
        self._ready = threading.Event()
        self._stopped = threading.Event()

    @property
    def is_ready(self) -> bool:
        """Whether the server has become ready."""
        return self._ready.is_set()

    def start(self) -> None:
        """Start polling in a daemon thread."""
        threading.Thread(target=self._run, name="endpoint-analytics-ready", daemon=True).start()

    def stop(self) -> None:
        """Stop polling."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            error = self.probe()
            if error is None:
                self._ready.set()
                return
            self.last_error = error
            self._stopped.wait(self._every_s)

    def probe(self) -> str | None:
        """Request the URL once; return why the server is not ready, None if it is."""
        connection: http.client.HTTPConnection
        if self._tls is not None:
            connection = self._tls.connect(self._host, self._port, ANSWER_WITHIN_S)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_WITHIN_S)
        try:
            connection.request("GET", self._path, headers={"User-Agent": "endpoint-analytics-agent"})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return explained(error)
        finally:
            connection.close()
        return None if status < 400 else f"status {status}"


def _invalid(name: str, url: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is {shown_value(url)} ({why}): expected http://HOST:PORT/PATH")
