"""Is the server ready? A thread asks a URL again and again until the answer says so. It changes no state."""

from __future__ import annotations

import http.client
import threading

from endpoint_analytics.agents.scrape.engine_tls import EngineTls, explained
from endpoint_analytics.schemas.configuration.settings import ConfigurationError, parse_url, shown_value

EVERY_S = 0.25
ANSWER_WITHIN_S = 5.0
"""Some take their time: SGLang's /health generates a token, and answers after a second at the earliest."""


class ReadyProbe:
    """Asks `url` until it answers with a status below 400; a certificate is checked as that of the engine's metrics is.

    Raises ConfigurationError when it is no http or https URL.
    """

    def __init__(self, url: str, tls: EngineTls | None = None, every_s: float = EVERY_S) -> None:
        parts = parse_url("--ready-url", url, error=_wrong)
        self.url = url
        self.last_error = "not asked yet"
        self._tls = (tls or EngineTls()) if parts.scheme == "https" else None
        self._host, self._port = parts.hostname or "", parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._every_s = every_s
        self._ready = threading.Event()
        self._stopped = threading.Event()

    @property
    def is_ready(self) -> bool:
        """Whether it has answered so."""
        return self._ready.is_set()

    def start(self) -> None:
        """Begin to ask, in a daemon thread."""
        threading.Thread(target=self._run, name="endpoint-analytics-ready", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            error = self.ask()
            if error is None:
                self._ready.set()
                return
            self.last_error = error
            self._stopped.wait(self._every_s)

    def ask(self) -> str | None:
        """Ask once; return why it is not ready, None when it is."""
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


def _wrong(name: str, url: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is {shown_value(url)} ({why}): expected http://HOST:PORT/PATH")
