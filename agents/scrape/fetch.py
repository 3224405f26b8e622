"""Asking an engine for its metrics: one GET, bounded in time and size. What the answer says is not read here."""

from __future__ import annotations

import http.client
import time
import zlib

from endpoint_analytics.agents.scrape.engine_tls import explained
from endpoint_analytics.agents.scrape.settings import Target

ANSWER_WITHIN_S = 2.0
MAX_BYTES = 8 * 1024 * 1024
"""Of an answer, unpacked: vLLM's has 100 kB."""
_PIECE_BYTES = 64 * 1024
_HEADERS = {
    "User-Agent": "endpoint-analytics-agent",
    "Accept": "text/plain;version=0.0.4, */*;q=0.1",
    "Accept-Encoding": "gzip",
    "Connection": "close",
}
_REFUSED = ": does it ask for a token? ENDPOINT_ANALYTICS_SCRAPE_TOKEN gives one"
_MOVED = ": a redirect, which is not followed; give the address that it leads to"
_HINTS = {
    401: _REFUSED,
    403: _REFUSED,
    404: ": another path, or its metrics are not switched on",
    **dict.fromkeys((301, 302, 303, 307, 308), _MOVED),
}


class ScrapeError(Exception):
    """The engine did not give its metrics; the message says why."""


def fetch(target: Target, within_s: float = ANSWER_WITHIN_S, max_bytes: int = MAX_BYTES) -> str:
    """Return the answer's text; raises ScrapeError. Redirects are not followed: they are no answer."""
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
                    raise ScrapeError(f"the answer takes more than {within_s:g} s")
            text = body.text()
            # What has no length ends with its connection: then only its last line feed says that it is whole.
            if response.length or not (response.length == 0 or response.chunked or text.endswith("\n")):
                raise ScrapeError("the answer broke off")
            return text
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, UnicodeError) as error:  # a host's name may be none
        raise ScrapeError(explained(error)) from error


def _connection(target: Target, timeout_s: float) -> http.client.HTTPConnection:
    if target.is_tls:
        return target.tls.connect(target.host, target.port, timeout_s)
    return http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)


class _Body:
    """An answer's bytes, unpacked as they come, `max_bytes` at most."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        if encoding not in {"identity", "gzip", "x-gzip", ""}:
            raise ScrapeError(f"content encoding {encoding[:40]!r}, which was not asked for")
        self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in encoding else None
        self._max_bytes = max_bytes
        self._taken = bytearray()

    def take(self, piece: bytes) -> None:
        """Take what came; raises ScrapeError when it is too much, or no gzip."""
        if self._unpack is None:
            self._taken += piece
        else:
            try:
                self._taken += self._unpack.decompress(piece, self._max_bytes + 1 - len(self._taken))
            except zlib.error as error:
                raise ScrapeError(f"the answer is no gzip: {error}") from error
        if len(self._taken) > self._max_bytes:
            raise ScrapeError(f"the answer has more than {self._max_bytes} bytes")

    def text(self) -> str:
        """Return all of it; what is no UTF-8 is replaced, since names and numbers are ASCII."""
        if self._unpack is not None and not self._unpack.eof:
            raise ScrapeError("the answer broke off")
        return self._taken.decode("utf-8", "replace")
