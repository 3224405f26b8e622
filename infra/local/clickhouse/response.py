"""The HTTP response: headers, a body in one or more pieces, an error before or after the first byte.

Knows ASGI's `send`, and nothing about the ClickHouse engine.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from endpoint_analytics.infra.local.clickhouse.blocks import pack_blocks
from endpoint_analytics.infra.local.clickhouse.encoding import Encoder, choose_encoding, make_encoder
from endpoint_analytics.infra.local.clickhouse.engine import QueryOutcome
from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError, exception_block
from endpoint_analytics.infra.local.clickhouse.request import ReplyOptions

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

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


_PLAIN = ReplyOptions()


class _BlockEncoder:
    def encode(self, data: bytes) -> bytes:
        return pack_blocks(data)

    def finish(self) -> bytes:
        return b""


class Response:
    """One response: exactly one of `whole`, `error`, or `begin` followed by `piece`s and `finish` or `abort`."""

    def __init__(
        self,
        send: Send,
        headers: dict[str, str],
        version: str,
        stall_timeout_s: float,
        options: ReplyOptions = _PLAIN,
    ) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._send = send
        self._headers = headers
        self._version = version
        self._options = options
        self._encoder: Encoder | None = None
        self._tag = uuid.uuid4().hex[:16]
        self.begun = False

    async def whole(self, body: bytes, result_format: str, outcome: QueryOutcome, status: int = 200) -> None:
        """Send a complete result, with a summary of the query."""
        counts = summary(outcome, len(body))
        headers = {**self._result_headers(result_format), "X-ClickHouse-Summary": counts}
        if self._options.progress:
            headers["X-ClickHouse-Progress"] = counts
        if body:
            encoder = self._choose_encoder(headers)
            body = body if encoder is None else await _encode(encoder, body) + encoder.finish()
        headers["Content-Length"] = str(len(body))
        await self._start(status, headers)
        await self._body(body, more=False)

    async def error(self, error: ClickHouseError, *, is_last: bool = False) -> None:
        """Send an error before anything else; `is_last` closes the connection, as part of the request is unread.

        As in ClickHouse, who asked for blocks gets the error in one; drivers of 2025 read it in no other form.
        """
        body = self._with_version(error).encode(errors="surrogateescape") + b"\n"
        if self._options.blocks:
            body = pack_blocks(body)
        headers = {
            **self._headers,
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Exception-Code": str(error.code),
            "Content-Length": str(len(body)),
        }
        if is_last:
            headers["Connection"] = "close"
        await self._start(error.status, headers)
        await self._body(body, more=False)

    async def begin(self, result_format: str, length: int | None = None) -> None:
        """Send the headers of a result in pieces."""
        headers = {**self._result_headers(result_format), "X-ClickHouse-Exception-Tag": self._tag}
        self._encoder = self._choose_encoder(headers)
        if self._encoder is None and length is not None:
            headers["Content-Length"] = str(length)
        await self._start(200, headers)

    async def piece(self, data: bytes) -> None:
        """Send some bytes of the result; waits for a slow client, until the stall timeout."""
        if self._encoder is not None:
            data = await _encode(self._encoder, data)
        if data:
            await self._body(data, more=True)

    async def finish(self) -> None:
        """End a result in pieces."""
        await self._body(self._encoder.finish() if self._encoder is not None else b"", more=False)

    async def abort(self, error: ClickHouseError) -> None:
        """Append an error to a started result, and leave it unfinished so that no client accepts it as complete."""
        block = exception_block(ClickHouseError(error.code, self._with_version(error)), self._tag)
        if self._encoder is not None:
            block = self._encoder.encode(block) + self._encoder.finish()
        await self._body(block, more=True)

    def _choose_encoder(self, headers: dict[str, str]) -> Encoder | None:
        """Return the encoder that the client asked for; a header names HTTP's codings, but not ClickHouse's."""
        if self._options.blocks:
            return _BlockEncoder()
        encoding = choose_encoding(self._options.accept_encoding)
        if not encoding:
            return None
        headers["Content-Encoding"] = encoding
        return make_encoder(encoding, self._options.zlib_level)

    def _with_version(self, error: ClickHouseError) -> str:
        return error.text if "(version " in error.text[-40:] else f"{error.text} (version {self._version})"

    def _result_headers(self, result_format: str) -> dict[str, str]:
        content_type = _CONTENT_TYPES.get(result_format, "text/plain; charset=UTF-8")
        return {**self._headers, "X-ClickHouse-Format": result_format, "Content-Type": content_type}

    async def _start(self, status: int, headers: dict[str, str]) -> None:
        self.begun = True
        pairs = [(name.lower().encode("latin-1"), _header_value(value)) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def _body(self, body: bytes, *, more: bool) -> None:
        async with asyncio.timeout(self._stall_timeout_s):
            await self._send({"type": "http.response.body", "body": body, "more_body": more})


async def _encode(encoder: Encoder, data: bytes) -> bytes:
    """Encode data, in a thread if it is large, so that the loop is not blocked."""
    return (
        encoder.encode(data) if len(data) < _INLINE_BYTES else await asyncio.to_thread(encoder.encode, data)
    )


def _header_value(value: str) -> bytes:
    return "".join(c for c in value if c.isprintable()).encode("latin-1", errors="replace")


def summary(outcome: QueryOutcome, result_bytes: int) -> str:
    """Return the X-ClickHouse-Summary header, with numbers as strings like ClickHouse's."""
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
