"""Refuses the SQL function `file` by name, since neither privileges nor the kernel protect this process's open files.

Through /dev/fd the function could read the rows and results of other users. Pure, and the last resort: everything else
is left to the engine's privileges (`privileges`) and the kernel (`confine`). The engine accepts a function's name as a
lambda, as in `arrayMap(file, ...)`, so the name is refused wherever it is used as a name, and as the value of an
identifier parameter. SQL outside the query (settings, `Values`) is disabled for analysts in `privileges`. Where the
engine might tokenize the text differently from our lexer, the name is refused anywhere in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from endpoint_analytics.infra.local.clickhouse.errors import refusal
from endpoint_analytics.infra.local.clickhouse.lexer import LexerToken, is_ambiguous, tokens

_NAME = b"file"
_ANYWHERE = re.compile(rb"(?<![A-Za-z0-9_])file(?![A-Za-z0-9_])|[`\"\xe2][^`\"\xe2]*\\")
_IDENTIFIER = b"Identifier"
_NO_PARAMETERS: Mapping[str, str] = {}


def refuse_open_files(query: bytes, parameters: Mapping[str, str] = _NO_PARAMETERS) -> None:
    """Raise ClickHouseError 497 for a query with the function's name; `parameters` are those of `{name:Type}`."""
    if _IDENTIFIER in query and _NAME.decode() in parameters.values():
        raise refusal(
            497, "Not enough privileges: file() is not allowed here, nor is its name as a parameter."
        )
    if _ANYWHERE.search(query) is None:
        return
    found = list(tokens(query))
    if any(map(is_ambiguous, found)):
        found = []
    rest = query if not found else found[-1].text if found[-1].kind == "open_end" else b""
    if any(map(_may_be, found)) or _ANYWHERE.search(rest):
        raise refusal(
            497,
            "Not enough privileges: file() is not allowed here, in any spelling. So nothing may be named "
            "`file`, and no quoted name may contain a backslash.",
        )


def _may_be(token: LexerToken) -> bool:
    if token.kind == "quoted":
        return token.quoted == _NAME or b"\\" in token.text  # an escape sequence may spell it
    return token.kind == "word" and token.text == _NAME
