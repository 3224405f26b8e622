"""Which requests are not recorded: those whose path is in `exclude_paths`. Pure; the same for all capture methods.

The whole path is compared, without its query, as applications see it: percent-decoded, as UTF-8. It is the path in the
request line; if the server has a path prefix (ASGI's `root_path`, WSGI's `SCRIPT_NAME`), both the full path and the
path below the prefix match.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from urllib.parse import unquote

_AUTHORITY = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def is_excluded(path: str, excluded: AbstractSet[str], prefix: str = "") -> bool:
    """Return whether requests for `path`, decoded and without a query, are excluded."""
    if path in excluded:
        return True
    if prefix and path.startswith(prefix):
        path = path[len(prefix) :]
    return path in excluded if path.startswith("/") else _AUTHORITY.sub("", path, count=1) in excluded


def path_of(target: str) -> str:
    """Return the decoded path of a request target from a request line: `/a b` for `/a%20b?c=d`."""
    path = target.partition("?")[0]
    if not path.startswith("/"):  # absolute form, as clients send to a proxy
        path = _AUTHORITY.sub("", path, count=1)
    return unquote(path) if "%" in path else path
