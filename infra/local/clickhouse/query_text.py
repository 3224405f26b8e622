"""Reads a request's query from its body and scans it, before the query waits for a slot.

Scanning takes time proportional to the text, so a long text is scanned in a thread. For analysts, the number of bodies
read at a time and the time for each are limited, so they cannot block the loop or fill the memory for others.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from endpoint_analytics.infra.local.clickhouse.body import RequestBody
from endpoint_analytics.infra.local.clickhouse.engine import quote
from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.local.clickhouse.multipart import parse_form
from endpoint_analytics.infra.local.clickhouse.open_files import refuse_open_files
from endpoint_analytics.infra.local.clickhouse.query_pool import QueryPool
from endpoint_analytics.infra.local.clickhouse.request import QueryRequest, parse_request
from endpoint_analytics.infra.local.clickhouse.statement import Kind, Statement, parse_statement

_HEAD_BYTES = 1 << 18  # ClickHouse's max_query_size: an INSERT's head must be within this many bytes
MAX_QUERY_BYTES = 1 << 26
_ANALYST_QUERY_BYTES = _HEAD_BYTES


@dataclass(frozen=True, slots=True)
class ReceivedQuery:
    """The parsed statement, the beginning of an INSERT's data, and whether that is all of the data."""

    statement: Statement
    data: bytes
    is_whole: bool


async def receive_analyst_body(
    pool: QueryPool, body: RequestBody, slots: AsyncExitStack, within_s: float, *, is_form: bool
) -> None:
    """Receive an analyst's body before its turn, so that a slow sender does not delay others.

    A long body, which only a form can have, needs an upload slot. Raises ClickHouseError, ClientGoneError.
    """
    body.limit_time(within_s)
    if await body.fetch(_ANALYST_QUERY_BYTES):
        return
    if not is_form:
        raise _too_large(_ANALYST_QUERY_BYTES)
    await slots.enter_async_context(pool.upload())
    body.limit_time(within_s)
    if not await body.fetch(MAX_QUERY_BYTES):
        raise _form_too_large()


async def read_form(
    pool: QueryPool,
    body: RequestBody,
    content_type: str,
    given: tuple[str, str, Mapping[str, str], Mapping[str, str]],
    *,
    analyst: bool,
) -> QueryRequest:
    """Return the request in a form; `given` are the method, the user, the URL's parameters and the headers."""
    data, is_whole = await body.read(MAX_QUERY_BYTES)
    if not is_whole:
        raise _form_too_large()
    return await pool.scan(
        lambda: parse_request(*given, parse_form(content_type, data)), len(data), analyst=analyst
    )


async def read_query(pool: QueryPool, request: QueryRequest, body: RequestBody) -> ReceivedQuery:
    """Return the query of a request; raises ClickHouseError, ClientGoneError."""
    text = request.query + b"\n" if request.query else b""
    more, is_whole = await body.read(_HEAD_BYTES)
    text += more
    statement = await _parse(pool, request, text)
    if not is_whole and statement.kind is not Kind.INSERT:
        more, is_whole = await body.read(MAX_QUERY_BYTES)
        text += more
        if not is_whole:
            raise _too_large(MAX_QUERY_BYTES)
        statement = await _parse(pool, request, text)
    return ReceivedQuery(
        statement, text[statement.data_at :] if statement.kind is Kind.INSERT else b"", is_whole
    )


async def _parse(pool: QueryPool, request: QueryRequest, text: bytes) -> Statement:
    most_bytes = _ANALYST_QUERY_BYTES if request.analyst else MAX_QUERY_BYTES
    if len(text) > most_bytes:
        raise _too_large(most_bytes)
    query_id = quote(request.query_id).encode(errors="surrogateescape")

    def job() -> Statement:
        statement = parse_statement(text, query_id)
        refuse_open_files(statement.head, request.parameters)
        for table in request.tables:
            refuse_open_files(table.structure.encode(errors="surrogateescape"), request.parameters)
        return statement

    size = len(text) + sum(len(table.structure) for table in request.tables)
    return await pool.scan(job, size, analyst=request.analyst)


def _too_large(most_bytes: int) -> ClickHouseError:
    return refusal(229, f"Query is too large: more than {most_bytes} bytes.")


def _form_too_large() -> ClickHouseError:
    return refusal(229, f"The form is too large: more than {MAX_QUERY_BYTES} bytes.")
