"""The SQL function `file` is refused by its name, since neither privileges nor the kernel keep it from what this
process holds open: through /dev/fd it would read the rows and results of others.

Pure, and the last resort: elsewhere the engine's privileges (`access`) and the kernel (`confine`) decide. The engine
takes a function's name for a lambda, as in `arrayMap(file, ...)`, so it is refused wherever it stands as a name, and as
the value of a parameter that is an identifier. SQL that is no query (settings, `Values`) is shut to analysts in
`access`. Where the engine may cut the text in another way than our lexer, the name is refused wherever it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from endpoint_analytics.infra.local.clickhouse.errors import refusal
from endpoint_analytics.infra.local.clickhouse.lexer import Token, is_strange, tokens

_NAME = b"file"
_ANYWHERE = re.compile(rb"(?<![A-Za-z0-9_])file(?![A-Za-z0-9_])|[`\"\xe2][^`\"\xe2]*\\")
_IDENTIFIER = b"Identifier"
_NO_PARAMETERS: Mapping[str, str] = {}


def refuse_open_files(query: bytes, parameters: Mapping[str, str] = _NO_PARAMETERS) -> None:
    """Raise ClickHouseError 497 for a query that has the function's name; `parameters` are those of `{name:Type}`."""
    if _IDENTIFIER in query and _NAME.decode() in parameters.values():
        raise refusal(497, "Not enough privileges: file() is not allowed here, and its name is no parameter.")
    if _ANYWHERE.search(query) is None:
        return
    found = list(tokens(query))
    if any(map(is_strange, found)):
        found = []
    rest = query if not found else found[-1].text if found[-1].kind == "open_end" else b""
    if any(map(_may_be, found)) or _ANYWHERE.search(rest):
        raise refusal(
            497,
            "Not enough privileges: file() is not allowed here, under whatever spelling. So nothing may be named "
            "`file`, and no quoted name may have a backslash.",
        )


def _may_be(token: Token) -> bool:
    if token.kind == "quoted":
        return token.quoted == _NAME or b"\\" in token.text  # an escape may spell it
    return token.kind == "word" and token.text == _NAME
