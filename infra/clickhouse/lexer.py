"""ClickHouse SQL cut into tokens, on bytes, because data in any encoding may follow the query.

Pure. It knows strings, quoted names, comments, heredocs and brackets, and nothing of grammar: text that
is not SQL gives tokens all the same, and the engine is left to say what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
      (?P<space>   \s+ | --[^\n]* | \#[\ !][^\n]* | /\*.*?\*/ )
    | (?P<string>  '(?>[^'\\]+|\\.|'')*+' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<quoted>  "(?>[^"\\]+|\\.|"")*+" | `(?>[^`\\]+|\\.|``)*+` )
    | (?P<word>    [A-Za-z_][A-Za-z0-9_]* )
    | (?P<number>  [0-9][0-9A-Za-z_.]* )
    | (?P<open>    [(\[{] )
    | (?P<close>   [)\]}] )
    | (?P<end>     ; )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind (a group of the pattern), its place in the text, the brackets it stands in."""

    kind: str
    text: bytes
    start: int
    stop: int
    depth: int

    @property
    def word(self) -> str:
        """The upper-case keyword or bare name; empty for all other tokens."""
        return self.text.decode("ascii").upper() if self.kind == "word" else ""


def tokens(text: bytes) -> Iterator[Token]:
    """The tokens of `text`, without white space and comments. A bracket's own depth is the outer one."""
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        if kind == "tag":
            kind = "string"
        if kind == "space":
            continue
        if kind == "close":
            depth = max(0, depth - 1)
        yield Token(kind, match[0], match.start(), match.end(), depth)
        if kind == "open":
            depth += 1
