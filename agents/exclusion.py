"""Which requests are left out of the figures: those whose path is in `exclude_paths`. Pure, and the same for each way.

A path is compared as a whole, without its query, and as applications get it: percent-decoded, as UTF-8.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from urllib.parse import unquote


def is_excluded(path: object, excluded: AbstractSet[str]) -> bool:
    """Return whether requests of `path`, decoded and without a query, are left out."""
    return path in excluded


def path_of(target: str) -> str:
    """Return the path of a request's target as it stands in the request line: `/a%20b?c=d` has `/a b`."""
    path = target.partition("?")[0]
    return unquote(path) if "%" in path else path
