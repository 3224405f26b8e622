"""Fetches a serving engine's metrics: one GET, bounded in time and size. The response is not parsed here."""

from __future__ import annotations

import http.client
import time
import zlib

from endpoint_analytics.agents.scrape.engine_tls import explained
from endpoint_analytics.agents.scrape.settings import ScrapeTarget

ANSWER_WITHIN_S = 2.0
MAX_BYTES = 8 * 1024 * 1024
"""Largest decompressed response: vLLM's has 100 kB."""
_PIECE_BYTES = 64 * 1024
_HEADERS = {
    "User-Agent": "endpoint-analytics-agent",
    "Accept": "text/plain;version=0.0.4, */*;q=0.1",
    "Accept-Encoding": "gzip",
    "Connection": "close",
}
_REFUSED = ": if it requires a token, set ENDPOINT_ANALYTICS_SCRAPE_TOKEN"
_MOVED = ": redirects are not followed; use the URL that it redirects to"
_HINTS = {
    401: _REFUSED,
    403: _REFUSED,
    404: ": the path is wrong, or its metrics are not enabled",
    **dict.fromkeys((301, 302, 303, 307, 308), _MOVED),
}


class ScrapeError(Exception):
    """The engine's metrics could not be fetched; the message says why."""


def fetch(target: ScrapeTarget, within_s: float = ANSWER_WITHIN_S, max_bytes: int = MAX_BYTES) -> str:
    """Return the response's text; raises ScrapeError. Redirects are errors: they are not followed."""
    end_s = time.monotonic() + within_s
    try:
        connection = _connection(target, within_s)
        try:
            authorization = {"Authorization": f"Bearer {target.token}"} if target.token else {}
            connection.request("GET", target.path, headers=_HEADERS | authorization)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise ScrapeError(f"status {response.status}{_HINTS.get(response.status, '')}")
            body = _Body(response.headers.get("Content-Encoding", "identity").strip().lower(), max_bytes)
            while piece := response.read1(_PIECE_BYTES):
                body.take(piece)
                if time.monotonic() > end_s:
                    raise ScrapeError(f"the response takes more than {within_s:g} s")
            text = body.text()
            # A body without a length ends with its connection: then only a final line feed shows that it is complete.
            if response.length or not (response.length == 0 or response.chunked or text.endswith("\n")):
                raise ScrapeError("the response is incomplete")
            return text
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, UnicodeError) as error:  # the host name may be invalid
        raise ScrapeError(explained(error)) from error


def _connection(target: ScrapeTarget, timeout_s: float) -> http.client.HTTPConnection:
    if target.is_tls:
        return target.tls.connect(target.host, target.port, timeout_s)
    return http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)


class _Body:
    """A response's bytes, decompressed as they arrive, at most `max_bytes`."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        if encoding not in {"identity", "gzip", "x-gzip", ""}:
            raise ScrapeError(f"content encoding {encoding[:40]!r}, which was not requested")
        self._decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in encoding else None
        self._max_bytes = max_bytes
        self._taken = bytearray()

    def take(self, piece: bytes) -> None:
        """Add a piece; raises ScrapeError if the body is too large, or not gzip."""
        if self._decompressor is None:
            self._taken += piece
        else:
            try:
                self._taken += self._decompressor.decompress(piece, self._max_bytes + 1 - len(self._taken))
            except zlib.error as error:
                raise ScrapeError(f"the response is not valid gzip: {error}") from error
        if len(self._taken) > self._max_bytes:
            raise ScrapeError(f"the response has more than {self._max_bytes} bytes")

    def text(self) -> str:
        """Return the whole text; invalid UTF-8 is replaced, since names and numbers are ASCII."""
        if self._decompressor is not None and not self._decompressor.eof:
            raise ScrapeError("the response is incomplete")
        return self._taken.decode("utf-8", "replace")
