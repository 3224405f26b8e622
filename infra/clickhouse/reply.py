"""What goes back over HTTP: headers, a body whole or in pieces, an error before or after the first byte.

Knows ASGI's `send` and nothing of the engine.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from endpoint_analytics.infra.clickhouse.encoding import Encoder, choose_encoding, make_encoder
from endpoint_analytics.infra.clickhouse.engine import Outcome
from endpoint_analytics.infra.clickhouse.errors import ClickHouseError, exception_block

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_STALLED_S = 300.0
_INLINE_BYTES = 1 << 17
_CONTENT_TYPES = {
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "CSVWithNamesAndTypes": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONColumns": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONStrings": "application/json; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "RowBinaryWithNames": "application/octet-stream",
    "RowBinaryWithNamesAndTypes": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
    "ORC": "application/octet-stream",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
}


class Reply:
    """One response. Exactly one of `whole`, `error`, or `begin` with `piece`s and an end is used."""

    def __init__(self, send: Send, headers: dict[str, str], version: str, accept_encoding: str = "") -> None:
        self._send = send
        self._headers = headers
        self._version = version
        self._accept_encoding = accept_encoding
        self._encoder: Encoder | None = None
        self._tag = uuid.uuid4().hex[:16]
        self.begun = False

    async def whole(self, body: bytes, result_format: str, outcome: Outcome, status: int = 200) -> None:
        """A complete result with the summary of what was done."""
        headers = {**self._of_result(result_format), "X-ClickHouse-Summary": summary(outcome, len(body))}
        encoding = choose_encoding(self._accept_encoding) if body else ""
        if encoding:
            encoder = make_encoder(encoding)
            body = encoder.encode(body) + encoder.finish()
            headers["Content-Encoding"] = encoding
        headers["Content-Length"] = str(len(body))
        await self._start(status, headers)
        await self._body(body, more=False)

    async def error(self, error: ClickHouseError) -> None:
        """An error before anything was sent."""
        body = self._with_version(error).encode(errors="surrogateescape") + b"\n"
        headers = {
            **self._headers,
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Exception-Code": str(error.code),
            "Content-Length": str(len(body)),
        }
        await self._start(error.status, headers)
        await self._body(body, more=False)

    async def begin(self, result_format: str, length: int | None = None) -> None:
        """The headers of a result that is sent in pieces."""
        headers = {**self._of_result(result_format), "X-ClickHouse-Exception-Tag": self._tag}
        encoding = choose_encoding(self._accept_encoding)
        if encoding:
            self._encoder = make_encoder(encoding)
            headers["Content-Encoding"] = encoding
        elif length is not None:
            headers["Content-Length"] = str(length)
        await self._start(200, headers)

    async def piece(self, data: bytes) -> None:
        """Some bytes of the result; waits while the client is slow, and for a stalled one not for ever."""
        if self._encoder is not None:
            if len(data) < _INLINE_BYTES:
                data = self._encoder.encode(data)
            else:
                data = await asyncio.get_running_loop().run_in_executor(None, self._encoder.encode, data)
        if data:
            await self._body(data, more=True)

    async def finish(self) -> None:
        """The end of a result in pieces."""
        await self._body(self._encoder.finish() if self._encoder is not None else b"", more=False)

    async def break_off(self, error: ClickHouseError) -> None:
        """Append an error to a result under way, and leave it unfinished: no client shall take it whole."""
        block = exception_block(ClickHouseError(error.code, self._with_version(error)), self._tag)
        if self._encoder is not None:
            block = self._encoder.encode(block) + self._encoder.finish()
        await self._body(block, more=True)

    def _with_version(self, error: ClickHouseError) -> str:
        return error.text if "(version " in error.text[-40:] else f"{error.text} (version {self._version})"

    def _of_result(self, result_format: str) -> dict[str, str]:
        content_type = _CONTENT_TYPES.get(result_format, "text/plain; charset=UTF-8")
        return {**self._headers, "X-ClickHouse-Format": result_format, "Content-Type": content_type}

    async def _start(self, status: int, headers: dict[str, str]) -> None:
        self.begun = True
        pairs = [(name.lower().encode("latin-1"), _header_value(value)) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def _body(self, body: bytes, *, more: bool) -> None:
        async with asyncio.timeout(_STALLED_S):
            await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _header_value(value: str) -> bytes:
    return "".join(c for c in value if c.isprintable()).encode("latin-1", errors="replace")


def summary(outcome: Outcome, result_bytes: int) -> str:
    """The X-ClickHouse-Summary header: numbers as strings, as ClickHouse writes them."""
    return json.dumps(
        {
            "read_rows": str(outcome.read_rows),
            "read_bytes": str(outcome.read_bytes),
            "written_rows": str(outcome.written_rows),
            "written_bytes": str(outcome.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(outcome.result_rows or outcome.written_rows),
            "result_bytes": str(result_bytes),
            "elapsed_ns": str(round(outcome.elapsed_s * 1e9)),
        },
        separators=(",", ":"),
    )
