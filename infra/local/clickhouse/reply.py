"""What goes back over HTTP: headers, a body whole or in pieces, an error before or after the first byte.

Knows ASGI's `send` and nothing of the engine.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from endpoint_analytics.infra.local.clickhouse.blocks import pack_blocks
from endpoint_analytics.infra.local.clickhouse.encoding import Encoder, choose_encoding, make_encoder
from endpoint_analytics.infra.local.clickhouse.engine import Outcome
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


class Reply:
    """One response. Exactly one of `whole`, `error`, or `begin` with `piece`s and an end is used."""

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

    async def whole(self, body: bytes, result_format: str, outcome: Outcome, status: int = 200) -> None:
        """A complete result with the summary of what was done."""
        counts = summary(outcome, len(body))
        headers = {**self._of_result(result_format), "X-ClickHouse-Summary": counts}
        if self._options.progress:
            headers["X-ClickHouse-Progress"] = counts
        if body:
            encoder = self._choose_encoder(headers)
            body = body if encoder is None else await _encode(encoder, body) + encoder.finish()
        headers["Content-Length"] = str(len(body))
        await self._start(status, headers)
        await self._body(body, more=False)

    async def error(self, error: ClickHouseError, *, is_last: bool = False) -> None:
        """An error before anything was sent; the last answer where the rest of a request is not waited for."""
        body = self._with_version(error).encode(errors="surrogateescape") + b"\n"
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
        """The headers of a result that is sent in pieces."""
        headers = {**self._of_result(result_format), "X-ClickHouse-Exception-Tag": self._tag}
        self._encoder = self._choose_encoder(headers)
        if self._encoder is None and length is not None:
            headers["Content-Length"] = str(length)
        await self._start(200, headers)

    async def piece(self, data: bytes) -> None:
        """Some bytes of the result; waits while the client is slow, and for a stalled one not for ever."""
        if self._encoder is not None:
            data = await _encode(self._encoder, data)
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

    def _choose_encoder(self, headers: dict[str, str]) -> Encoder | None:
        """What the client asked for; HTTP's own encodings are named in the headers, ClickHouse's is not."""
        if self._options.blocks:
            return _BlockEncoder()
        encoding = choose_encoding(self._options.accept_encoding)
        if not encoding:
            return None
        headers["Content-Encoding"] = encoding
        return make_encoder(encoding, self._options.zlib_level)

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
        async with asyncio.timeout(self._stall_timeout_s):
            await self._send({"type": "http.response.body", "body": body, "more_body": more})


async def _encode(encoder: Encoder, data: bytes) -> bytes:
    """What is large keeps the loop from nobody: it is encoded in a thread."""
    return (
        encoder.encode(data) if len(data) < _INLINE_BYTES else await asyncio.to_thread(encoder.encode, data)
    )


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
