"""Queries that run side by side: a task group whose failure is one StoreError, on every Python.

`except*` would do, but before Python 3.11.4 what is raised inside it comes out wrapped in a group again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from endpoint_analytics.pipeline.store.errors import StoreError


@asynccontextmanager
async def query_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Yield a task group for queries; when one fails, the others are cancelled and its StoreError is raised.

    Errors of any other kind are raised in their group, as a task group does.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        if (error := _only_store_error(errors)) is None:
            raise
        raise error from None


def _only_store_error(errors: BaseExceptionGroup[BaseException]) -> StoreError | None:
    """Return the first StoreError of a group that holds nothing else, else None."""
    found: StoreError | None = None
    for error in errors.exceptions:
        one = _only_store_error(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(one, StoreError):
            return None
        found = found or one
    return found
