"""Splits ClickHouse SQL into tokens. Works on bytes, because data in any encoding may follow the query.

Pure, and linear in the length of any text, which may be hostile. It knows strings, quoted names, comments, heredocs
and brackets, but no grammar: text that is not SQL is tokenized too, and the ClickHouse engine reports what is wrong
with it. As in the engine, a token that is not closed extends to the end of the text, and typographic quotes are quotes:
without escapes, from the opening one to the first closing one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_TOKEN = re.compile(
    rb"""
      (?P<space>   \s+ | --[^\n]* | \#[\ !][^\n]* | /\*.*?\*/ )
    | (?P<string>  '(?>[^'\\]+|\\.|'')*+' | \xe2\x80\x98.*?\xe2\x80\x99 )
    | (?P<quoted>  "(?>[^"\\]+|\\.|"")*+" | `(?>[^`\\]+|\\.|``)*+` | \xe2\x80\x9c.*?\xe2\x80\x9d )
    | (?P<open_end> (?: /\* | ['"`] | \xe2\x80[\x98\x9c] ) .* )
    | (?P<heredoc> \$(?P<tag>[^$]*+)\$ )
    | (?P<word>    [A-Za-z_$][A-Za-z0-9_$]* )
    | (?P<number>  [0-9][0-9A-Za-z_.]* )
    | (?P<open>    [(\[{] )
    | (?P<close>   [)\]}] )
    | (?P<end>     ; )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)


_OPENING_QUOTE = b"\xe2\x80\x9c"
_WORD = re.compile(rb"[A-Za-z_$][A-Za-z0-9_$]*")


class LexerToken(NamedTuple):
    """One token: its kind (a group of the pattern), its text and position, and its nesting depth in brackets.

    A tuple, because a text can have as many tokens as bytes.
    """

    kind: str
    text: bytes
    start: int
    stop: int
    depth: int

    @property
    def word(self) -> str:
        """The keyword or bare name in upper case; empty for all other tokens."""
        return self.text.decode("ascii").upper() if self.kind == "word" else ""

    @property
    def quoted(self) -> bytes:
        """The text between the quotes of a quoted name, with escapes kept as they are."""
        mark = 3 if self.text.startswith(_OPENING_QUOTE) else 1
        return self.text[mark:-mark]


def is_ambiguous(token: LexerToken) -> bool:
    """Whether it is of no known kind and not a visible ASCII character: the engine may read it differently."""
    return token.kind == "other" and not b"!" <= token.text <= b"~"


def stays_within_brackets(text: bytes) -> bool:
    """Whether SQL that is put between brackets stays between them, and within its statement."""
    open_brackets = 0
    for token in tokens(text):
        open_brackets += (token.kind == "open") - (token.kind == "close")
        if open_brackets < 0 or token.kind in ("end", "open_end") or is_ambiguous(token):
            return False
    return open_brackets == 0


def tokens(text: bytes) -> Iterator[LexerToken]:
    """Yield the tokens of `text`, without white space and comments. A bracket's own depth is the outer one."""
    depth = at = 0
    last_tags: Mapping[bytes, int] | None = None
    while match := _TOKEN.match(text, at):
        kind, start, at = match.lastgroup or "other", at, match.end()
        if kind == "space":
            continue
        if kind == "heredoc":
            tag = match["tag"]
            last_tags = _last_tags(text) if last_tags is None else last_tags
            if last_tags.get(tag, 0) >= at:
                kind, at = "string", text.index(b"$%b$" % tag, at) + len(tag) + 2
            elif word := _WORD.match(text, start):
                kind, at = "word", word.end()
        elif kind == "close":
            depth = max(0, depth - 1)
        yield LexerToken(kind, text[start:at], start, at, depth)
        if kind == "open":
            depth += 1


def _last_tags(text: bytes) -> Mapping[bytes, int]:
    """Return the last position of each `$tag$`: searching for each missing end would take quadratic time."""
    found: dict[bytes, int] = {}
    at = -1
    for part in text.split(b"$")[:-1]:
        found[part] = at
        at += len(part) + 1
    return found
