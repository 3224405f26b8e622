"""Concurrent queries: a task group that fails with a single StoreError, on every Python version.

`except*` would do, but before Python 3.11.4 an exception raised inside it is wrapped in a group again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from endpoint_analytics.pipeline.store.errors import StoreError


@asynccontextmanager
async def query_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Yield a task group for queries; if one fails, the others are cancelled and its StoreError is raised.

    Errors of any other kind are raised in an exception group, as usual for a task group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        if (error := _only_store_error(errors)) is None:
            raise
        raise error from None


def _only_store_error(errors: BaseExceptionGroup[BaseException]) -> StoreError | None:
    """Return the first StoreError of a group that contains only StoreErrors, else None."""

    found: StoreError | None = None
    for error in errors.exceptions:
        one = _only_store_error(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(one, StoreError):
            return None
        found = found or one
    return found
