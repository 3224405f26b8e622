"""What a query is, as far as an HTTP server has to know: does it give rows, does data follow it?

Pure. It finds the places where ClickHouse's own server looks: the end of an INSERT's head, the trailing
FORMAT, a second statement. All else is left to the engine's parser.
"""

from __future__ import annotations

import enum
import itertools
import re
from dataclasses import dataclass

from endpoint_analytics.infra.clickhouse.errors import refusal
from endpoint_analytics.infra.clickhouse.lexer import Token, tokens

_RESULT_WORDS = frozenset(
    {"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK"}
)
_CLIENT_WORDS = frozenset({"EXIT", "QUIT", "LOGOUT", "Q"})
_SOURCE_WORDS = frozenset({"SELECT", "WITH", "FROM", "WATCH"})
_LINE_END = re.compile(rb"[ \t\f]*\r?\n?")


class Kind(enum.Enum):
    """RESULT gives rows, INSERT is followed by data, SESSION is SET or USE, COMMAND is all else."""

    RESULT = enum.auto()
    INSERT = enum.auto()
    SESSION = enum.auto()
    COMMAND = enum.auto()


@dataclass(frozen=True, slots=True)
class Statement:
    """A query and what was found in it.

    `head` is the query itself: for INSERT without FORMAT and data. `format` is the one it names, or empty.
    `data_at` is where an INSERT's data begin. `tail_at` is where INTO OUTFILE may be put into a RESULT.
    """

    kind: Kind
    head: bytes
    format: str = ""
    data_at: int = 0
    tail_at: int = 0

    def into(self, path: str, default_format: str, mark: str) -> bytes:
        """A RESULT's text, marked, its rows written to `path` in its own format or in `default_format`."""
        before, after = self.head[: self.tail_at], self.head[self.tail_at :]
        named = b"" if self.format else f" FORMAT {default_format}".encode()
        return before + f"\n/*{mark}*/ INTO OUTFILE '{path}' TRUNCATE".encode() + named + b"\n" + after


def parse_statement(text: bytes) -> Statement:
    """What the query in `text` is; for an INSERT, `text` may go on with the beginning of its data.

    Raises ClickHouseError for what ClickHouse's HTTP server refuses: nothing at all, two statements, and
    files on the server's side.
    """
    found: list[Token] = []
    insert = False
    for token in tokens(text):
        if not found and token.kind == "end":
            continue
        found.append(token)
        if len(found) == 1:
            insert = token.word == "INSERT"
        elif insert and token.depth == 0 and (statement := _insert_head(text, found)) is not None:
            return statement
    if not found:
        raise refusal(62, "Syntax error: Empty query.")
    body = _one_statement(found)
    words = [token.word for token in body]
    if ("INTO", "OUTFILE") in itertools.pairwise(words):
        raise refusal(358, "INTO OUTFILE is not allowed.")
    stop = body[-1].stop
    if (not words[0] and body[0].text != b"(") or (len(words) == 1 and words[0] in _CLIENT_WORDS):
        # The embedded engine would take these for words to a command-line client, and say nothing.
        start = body[0].text.decode(errors="backslashreplace")
        raise refusal(62, f"Syntax error: failed at position {body[0].start + 1} ({start}).")
    if words[0] in ("SET", "USE"):
        return Statement(Kind.SESSION, text[:stop])
    first = next((word for word, token in zip(words, body, strict=True) if token.text != b"("), "")
    writes = words[0] == "WITH" and any(t.word == "INSERT" and t.depth == 0 for t in body)
    if first not in _RESULT_WORDS or writes:
        return Statement(Kind.COMMAND, text[:stop])
    name, tail_at = _trailing_format(body)
    return Statement(Kind.RESULT, text[:stop], format=name, tail_at=tail_at)


def _insert_head(text: bytes, found: list[Token]) -> Statement | None:
    """The INSERT, once its last token ends the head; None while it does not, or when no data follow."""
    last, previous = found[-1], found[-2]
    if last.word == "INFILE" and previous.word == "FROM":
        raise refusal(78, "Query has infile and was send directly to server.")
    if any(token.depth == 0 and token.word in _SOURCE_WORDS for token in found[3:]):
        return None
    if previous.word == "FORMAT" and last.kind == "word" and len(found) > 3:
        return _insert(text[: previous.start], last.text.decode("ascii"), _LINE_END.match(text, last.stop))
    if last.word == "VALUES" and len(found) > 3:
        return _insert(text[: last.start], "Values", None, last.stop)
    return None


def _insert(head: bytes, name: str, line_end: re.Match[bytes] | None, data_at: int = 0) -> Statement:
    return Statement(Kind.INSERT, head.rstrip(), format=name, data_at=line_end.end() if line_end else data_at)


def _one_statement(found: list[Token]) -> list[Token]:
    """The tokens before the final semicolons; two statements are refused."""
    ends = [index for index, token in enumerate(found) if token.kind == "end"]
    if not ends:
        return found
    if any(token.kind != "end" for token in found[ends[0] :]):
        raise refusal(62, "Syntax error (Multi-statements are not allowed).")
    return found[: ends[0]]


def _trailing_format(body: list[Token]) -> tuple[str, int]:
    """The format named at the end (before or after SETTINGS) and where the clause begins, or the end."""
    for index in range(len(body) - 2, 0, -1):
        word, name = body[index], body[index + 1]
        if word.word != "FORMAT" or word.depth != 0 or name.kind != "word" or name.word == "SETTINGS":
            continue
        if index + 2 == len(body) or body[index + 2].word == "SETTINGS":
            return name.text.decode("ascii"), word.start
        break
    return "", body[-1].stop
