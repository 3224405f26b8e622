"""Which requests are left out of the figures: those whose path is in `exclude_paths`. Pure, and the same for each way.

A path is compared as a whole, without its query, and as applications get it: percent-decoded, as UTF-8. It is the path
of the request line, and behind a prefix that the server was told of (ASGI's `root_path`, WSGI's `SCRIPT_NAME`) the
one below the prefix, or the whole.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from urllib.parse import unquote

_AUTHORITY = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def is_excluded(path: str, excluded: AbstractSet[str], prefix: str = "") -> bool:
    """Return whether requests of `path`, decoded and without a query, are left out."""
    if path in excluded:
        return True
    if prefix and path.startswith(prefix):
        path = path[len(prefix) :]
    return path in excluded if path.startswith("/") else _AUTHORITY.sub("", path, count=1) in excluded


def path_of(target: str) -> str:
    """Return the path of a request's target as it stands in the request line: `/a%20b?c=d` has `/a b`."""
    path = target.partition("?")[0]
    if not path.startswith("/"):  # the absolute form, as clients send it to a proxy
        path = _AUTHORITY.sub("", path, count=1)
    return unquote(path) if "%" in path else path
