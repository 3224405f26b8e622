"""The client's query ID and user of each query, in a ClickHouse engine that makes its own IDs and has only one user.

Both are attached to a query as a tag: in its `log_comment`, and in a comment of its text, which no SETTINGS clause
can hide. Clients see their own values in the list of running queries: `system.processes` is read through a view, which
KILL QUERY uses too. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from endpoint_analytics.infra.local.clickhouse.lexer import LexerToken

_TAGGED = "concat(Settings['log_comment'], ' ', query)"
_TAG = "http:([0-9a-f]*):([0-9a-f]*):"


def _from_tag(column: str, group: int) -> str:
    found = f"extractGroups({_TAGGED}, '{_TAG}')"
    return f"if(empty({found}), {column}, unhex({found}[{group}]))"


VIEW = f"""CREATE OR REPLACE VIEW system.client_processes AS SELECT * REPLACE (
    {_from_tag("query_id", 1)} AS query_id,
    {_from_tag("initial_query_id", 1)} AS initial_query_id,
    {_from_tag("user", 2)} AS user,
    {_from_tag("initial_user", 2)} AS initial_user,
    replaceRegexpOne(query, '\\\\n?/\\\\*{_TAG}\\\\*/[^\\\\n]*\\\\n?', '') AS query
) FROM system.processes""".encode()  # noqa: S608
"""The running queries, with the clients' own query IDs and users."""

KILL = f"KILL QUERY WHERE {_from_tag('query_id', 1)} = {{client_query_id:String}} ASYNC".encode()
"""The engine's own KILL QUERY, by client query ID."""


def tag(query_id: str, user: str) -> str:
    """Return the tag of a query, for comments."""
    return f"http:{_hex(query_id)}:{_hex(user)}:"


def _hex(text: str) -> str:
    return text.encode(errors="surrogateescape").hex()


def rewrite_for_client(text: bytes, found: Sequence[LexerToken], query_id: bytes) -> bytes:
    """Return a query's text with the view instead of system.processes, and `query_id` instead of queryID()."""
    parts: list[bytes] = []
    at = 0
    for first, second, third in itertools.zip_longest(found, found[1:], found[2:]):
        if first.word == "SYSTEM" and third and second.text == b"." and third.text == b"processes":
            parts += (text[at : third.start], b"client_processes")
            at = third.stop
        elif first.word in ("QUERYID", "INITIALQUERYID") and third and second.text + third.text == b"()":
            parts += (text[at : first.start], query_id)
            at = third.stop
    return b"".join([*parts, text[at:]])
