"""Why a receiver did not accept metrics, for the log: what went wrong, and how to fix it. Pure.

In our words only. The text of aiohttp's errors quotes URLs, whose query may have a token, and what a receiver
answered; of these only errors of connecting are shown, which have the host, the port and the system's reason.
"""

from __future__ import annotations

import aiohttp

_LOGIN = "check the login in --headers-file"
_PATH = "check the path of --endpoint: Prometheus's is /api/v1/otlp/v1/metrics, a Collector's /v1/metrics"
_HINTS = {
    400: "the receiver's own log says what it does not understand",
    401: _LOGIN,
    403: _LOGIN,
    404: _PATH,
    405: _PATH,
    413: "let the receiver take larger requests",
    415: "--endpoint must take OTLP as protobuf over HTTP",
}
_REDIRECT = "it redirects, which is not followed: set --endpoint to the URL that it redirects to"
_CERTIFICATE = (
    "its certificate must be for the host in --endpoint; if its CA is not one of the system's, set --ca-file"
)
_NO_TLS = "if the receiver has no TLS, let --endpoint begin with http://"
_NO_HTTP = (
    "is --endpoint the receiver's port for OTLP over HTTP (4318), not gRPC (4317), and is it http or https?"
)


def refused(status: int) -> str:
    """Return what an answer with this status says, which is not a 2xx."""
    hint = _REDIRECT if 300 <= status < 400 else _HINTS.get(status)
    return f"status {status}" + (f": {hint}" if hint else "")


def no_answer(error: Exception) -> str:
    """Return why there was no answer."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"{error}: {_CERTIFICATE}"
        case aiohttp.ClientConnectorSSLError():
            return f"{error}: {_NO_TLS}"
        case aiohttp.ClientConnectorError():
            return str(error)
        case TimeoutError():
            return "it did not answer in time"
        case aiohttp.ClientResponseError():
            return f"its answer is not HTTP: {_NO_HTTP}"
        case aiohttp.ServerDisconnectedError():
            return f"it closed the connection without an answer: {_NO_HTTP}"
        case UnicodeError() | aiohttp.InvalidURL():
            return "the host of --endpoint is not a valid name"
    return f"the connection broke ({type(error).__name__})"
