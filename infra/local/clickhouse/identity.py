"""Whose query it is: a client's query id and user, in an engine that makes ids of its own and has one user.

Both travel with a query in a tag: in its `log_comment`, and in a comment of its text, which no SETTINGS clause
hides. Where a client looks at what runs it meets what it knows: `system.processes` is read through a view, in
which KILL QUERY finds its queries too. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from endpoint_analytics.infra.local.clickhouse.lexer import Token

_TAGGED = "concat(Settings['log_comment'], ' ', query)"
_TAG = "http:([0-9a-f]*):([0-9a-f]*):"


def _of_tag(column: str, group: int) -> str:
    found = f"extractGroups({_TAGGED}, '{_TAG}')"
    return f"if(empty({found}), {column}, unhex({found}[{group}]))"


VIEW = f"""CREATE OR REPLACE VIEW system.client_processes AS SELECT * REPLACE (
    {_of_tag("query_id", 1)} AS query_id,
    {_of_tag("initial_query_id", 1)} AS initial_query_id,
    {_of_tag("user", 2)} AS user,
    {_of_tag("initial_user", 2)} AS initial_user,
    replaceRegexpOne(query, '\\\\n?/\\\\*{_TAG}\\\\*/[^\\\\n]*\\\\n?', '') AS query
) FROM system.processes""".encode()  # noqa: S608
"""What runs, as clients know it."""

KILL = f"KILL QUERY WHERE {_of_tag('query_id', 1)} = {{client_query_id:String}} ASYNC".encode()
"""The engine's own KILL, for the query of a client's id."""


def tag(query_id: str, user: str) -> str:
    """What goes with a query, in comments."""
    return f"http:{_hex(query_id)}:{_hex(user)}:"


def _hex(text: str) -> str:
    return text.encode(errors="surrogateescape").hex()


def as_clients_see(text: bytes, found: Sequence[Token], query_id: bytes) -> bytes:
    """A query's text that reads the view in place of system.processes, and `query_id` in place of queryID()."""
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
