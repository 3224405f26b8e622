"""Classifies a query as far as an HTTP server needs to: does it return rows, does data follow it?

Pure. It looks for the same things as ClickHouse's own server: the end of an INSERT's head, the trailing
FORMAT, a second statement. Everything else is left to the ClickHouse engine's parser.
"""

from __future__ import annotations

import enum
import itertools
import re
from dataclasses import dataclass

from endpoint_analytics.infra.local.clickhouse.errors import refusal
from endpoint_analytics.infra.local.clickhouse.lexer import LexerToken, stays_within_brackets, tokens
from endpoint_analytics.infra.local.clickhouse.query_tag import rewrite_for_client

_RESULT_WORDS = frozenset(
    {"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK"}
)
_COMMAND_WORDS = frozenset({
    "ALTER", "ATTACH", "BACKUP", "BEGIN", "COMMIT", "COPY", "CREATE", "DELETE", "DETACH", "DROP", "EXCHANGE", "EXECUTE",
    "GRANT", "INSERT", "KILL", "MOVE", "OPTIMIZE", "PARALLEL", "RENAME", "REPLACE", "RESTORE", "REVOKE", "ROLLBACK",
    "SET", "START", "SYSTEM", "TRUNCATE", "UNDROP", "UPDATE", "USE", "WATCH",
})  # fmt: skip
_CLIENT_WORDS = frozenset({"EXIT", "QUIT", "LOGOUT", "Q"})
_SOURCE_WORDS = frozenset({"SELECT", "WITH", "FROM", "WATCH"})
_KILL_MODES = frozenset({"SYNC", "ASYNC", "TEST"})
_LINE_END = re.compile(rb"[ \t\f]*\r?\n?")


class Kind(enum.Enum):
    """RESULT returns rows, INSERT is followed by data, SESSION is SET or USE, COMMAND is anything else.

    KILL is KILL QUERY; its `head` is a SELECT of the matching queries.
    """

    KILL = enum.auto()
    RESULT = enum.auto()
    INSERT = enum.auto()
    SESSION = enum.auto()
    COMMAND = enum.auto()


@dataclass(frozen=True, slots=True)
class Statement:
    """A classified query.

    `head` is the query itself, for an INSERT without FORMAT and data. `format` is the one it names, or empty.
    `data_at` is where an INSERT's data begins. `tail_at` is where INTO OUTFILE can be inserted into a RESULT, and
    FROM INFILE into an INSERT. `mode` is that of a KILL: SYNC, ASYNC or TEST.
    """

    kind: Kind
    head: bytes
    format: str = ""
    data_at: int = 0
    tail_at: int = 0
    mode: str = ""

    def into(self, path: str, default_format: str, mark: str) -> bytes:
        """Return a RESULT's text, tagged with `mark`, that writes its rows to `path` in its own or a default format."""
        before, after = self.head[: self.tail_at], self.head[self.tail_at :]
        named = b"" if self.format else f" FORMAT {default_format}".encode()
        return before + f"\n/*{mark}*/ INTO OUTFILE '{path}' TRUNCATE".encode() + named + b"\n" + after

    def from_file(self, path: str, compression: str, mark: str) -> bytes:
        """Return an INSERT's text, tagged with `mark`, that reads its data from `path` in its own format."""
        before, after = self.head[: self.tail_at], self.head[self.tail_at :]
        source = f"\n/*{mark}*/ FROM INFILE '{path}' COMPRESSION '{compression}'\n".encode()
        return before + source + after + f"\nFORMAT {self.format}".encode()


def unknown_beginning(text: bytes) -> str:
    """Return the first word of a query if no statement of ClickHouse begins with it (a misspelt SELECT), else ''."""
    first = next((token for token in tokens(text) if token.kind != "end"), None)
    if first is None or not first.word or first.word in _RESULT_WORDS | _COMMAND_WORDS:
        return ""
    return first.text.decode(errors="backslashreplace")


def parse_statement(text: bytes, query_id: bytes = b"''") -> Statement:
    """Classify the query in `text`; for an INSERT, `text` may include the beginning of its data.

    `query_id` is an SQL string literal: the ID that the query sees as its own.

    Raises ClickHouseError for anything that ClickHouse's HTTP server refuses: an empty query, two statements, and
    files on the server.
    """
    found: list[LexerToken] = []
    insert = has_source = False
    for token in tokens(text):
        if not found and token.kind == "end":
            continue
        found.append(token)
        if len(found) == 1:
            insert = token.word == "INSERT"
            continue
        if not insert:
            continue
        if token.depth == 0:
            has_source = has_source or (len(found) > 3 and token.word in _SOURCE_WORDS)
            statement = _insert_head(text, found, has_source=has_source)
            if statement is not None:
                return statement
        if token.text == b"(" and [one.word for one in found[-3:-1]] == ["FROM", "INPUT"]:
            # The embedded engine has no input(): it would report success without storing anything.
            raise refusal(
                48, "input() is not supported here: insert without SELECT, or send an external table."
            )
    if not found:
        raise refusal(62, "Syntax error: Empty query.")
    body = _one_statement(found)
    words = [token.word for token in body]
    if ("INTO", "OUTFILE") in itertools.pairwise(words):
        raise refusal(358, "INTO OUTFILE is not allowed.")
    stop = body[-1].stop
    if (not words[0] and body[0].text != b"(") or (len(words) == 1 and words[0] in _CLIENT_WORDS):
        # The embedded engine would treat these as commands of a command-line client, and return nothing.
        start = body[0].text.decode(errors="backslashreplace")
        raise refusal(62, f"Syntax error: failed at position {body[0].start + 1} ({start}).")
    if words[:3] == ["KILL", "QUERY", "WHERE"]:
        return _kill(text, body)
    if words[0] in ("SET", "USE"):
        return Statement(Kind.SESSION, text[:stop])
    first = next((word for word, token in zip(words, body, strict=True) if token.text != b"("), "")
    writes = words[0] == "WITH" and any(t.word == "INSERT" and t.depth == 0 for t in body)
    if first not in _RESULT_WORDS or writes:
        return Statement(Kind.COMMAND, text[:stop])
    seen = rewrite_for_client(text[:stop], body, query_id)
    if seen != text[:stop]:
        return parse_statement(seen, query_id)
    name, tail_at = _trailing_format(body)
    return Statement(Kind.RESULT, text[:stop], format=name, tail_at=tail_at)


def _kill(text: bytes, body: list[LexerToken]) -> Statement:
    """KILL QUERY WHERE ... [SYNC|ASYNC|TEST] [FORMAT ...]."""
    name, stop = _trailing_format(body)
    ahead = [token for token in body if token.stop <= stop]
    mode = ahead[-1].word if ahead[-1].word in _KILL_MODES else ""
    if mode:
        stop = ahead[-1].start
    where = text[ahead[3].start : stop] if len(ahead) > 3 else b""
    if not stays_within_brackets(where):
        raise refusal(62, "Syntax error: KILL QUERY WHERE is not followed by one condition.")
    head = b"SELECT 'waiting' AS kill_status, query_id, user, query FROM system.client_processes WHERE "
    return Statement(Kind.KILL, head + b"(" + where.rstrip() + b"\n)", format=name, mode=mode)


def _insert_head(text: bytes, found: list[LexerToken], *, has_source: bool) -> Statement | None:
    """Return the INSERT once its last token ends the head; None before that, or if no data follows."""
    last, previous = found[-1], found[-2]
    if last.word == "INFILE" and previous.word == "FROM":
        raise refusal(78, "Query has infile and was send directly to server.")
    if has_source:
        return None
    if previous.word == "FORMAT" and last.kind == "word" and len(found) > 3:
        line_end = _LINE_END.match(text, last.stop)
        data_at = line_end.end() if line_end else last.stop
        return _insert(text, found[:-2], previous.start, last.text.decode("ascii"), data_at)
    if last.word == "VALUES" and len(found) > 3:
        return _insert(text, found[:-1], last.start, "Values", last.stop)
    return None


def _insert(text: bytes, found: list[LexerToken], stop: int, name: str, data_at: int) -> Statement:
    head = text[:stop].rstrip()
    try:
        head.decode()
    except UnicodeDecodeError:
        raise refusal(62, "Syntax error: the head of an INSERT must be UTF-8.") from None
    settings = (
        first.start
        for first, second, third in zip(found, found[1:], found[2:], strict=False)
        if first.word == "SETTINGS" and first.depth == 0 and second.kind == "word" and third.text == b"="
    )
    return Statement(Kind.INSERT, head, format=name, data_at=data_at, tail_at=next(settings, len(head)))


def _one_statement(found: list[LexerToken]) -> list[LexerToken]:
    """Return the tokens before the final semicolons; two statements are refused."""
    ends = [index for index, token in enumerate(found) if token.kind == "end"]
    if not ends:
        return found
    if any(token.kind != "end" for token in found[ends[0] :]):
        raise refusal(62, "Syntax error (Multi-statements are not allowed).")
    return found[: ends[0]]


def _trailing_format(body: list[LexerToken]) -> tuple[str, int]:
    """Return the trailing format (before or after SETTINGS) and where its clause begins, or "" and the end."""
    for index in range(len(body) - 2, 0, -1):
        word, name = body[index], body[index + 1]
        if word.word != "FORMAT" or word.depth != 0 or name.kind != "word" or name.word == "SETTINGS":
            continue
        if index + 2 == len(body) or body[index + 2].word == "SETTINGS":
            return name.text.decode("ascii"), word.start
        break
    return "", body[-1].stop
