"""Serves the page's files over HTTP: encodings, 304, and a clear message if the page was not built."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from endpoint_analytics.pipeline.exposition.accept import accepts_gzip
from endpoint_analytics.pipeline.serve.http import responses
from endpoint_analytics.pipeline.serve.static.page_headers import PAGE_HEADERS
from endpoint_analytics.pipeline.serve.static.static_files import StaticFile

_NOT_BUILT = (
    "this installation has no page: run `make page` in the source tree and reinstall, or install a wheel built by "
    "`make dist`; the JSON API and open-metrics work without it"
)


class StaticPages:
    """The page's routes: `/`, `/assets/{name}` and `/licences.txt`. Public: they contain no figures."""

    def __init__(self, files: Mapping[str, StaticFile]) -> None:
        self._files = files

    def routes(self) -> dict[str, Callable[[Request], Awaitable[Response]]]:
        """Return the handlers by path."""
        return {"/": self.file, "/assets/{name}": self.file, "/licences.txt": self.file}

    async def file(self, request: Request) -> Response:
        """Answer GET of one file."""
        found = self._files.get(request.url.path)
        if found is None:
            return responses.text(404, "no such file" if self._files else _NOT_BUILT)
        body, etag, encoding = found.encoded(gzip=accepts_gzip(request.headers.get("accept-encoding")))
        headers = {
            **PAGE_HEADERS,
            **encoding,
            "Cache-Control": found.cache_control,
            "ETag": etag,
            "Vary": "Accept-Encoding",
        }
        if etag in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers | {"Content-Type": found.content_type})
