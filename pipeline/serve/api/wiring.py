"""Assembles the API from its parts, with the wall clock. Only wiring belongs here."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable
from datetime import UTC, datetime
from importlib.metadata import version as package_version

from endpoint_analytics.pipeline.serve.access.page_session import PageSessions, Store
from endpoint_analytics.pipeline.serve.access.rate_limit import RateLimit
from endpoint_analytics.pipeline.serve.access.token_cache import TokenCache
from endpoint_analytics.pipeline.serve.api.authorization import ApiAccess
from endpoint_analytics.pipeline.serve.api.endpoint_answers import EndpointAnswers
from endpoint_analytics.pipeline.serve.api.handlers import Api
from endpoint_analytics.pipeline.serve.api.json_responses import RETRY_AFTER_S, ReplyBody
from endpoint_analytics.pipeline.serve.api.overview import Overview
from endpoint_analytics.pipeline.serve.api.signals import Signals
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.rollup_levels import RollupProgress
from endpoint_analytics.pipeline.store.shared_cache import SharedCache

CACHE_ENTRIES = 200
"""An answer is at most a few megabytes; most are a few kilobytes."""


def make_api(
    reader: Store,
    tokens: TokenCache,
    progress: Callable[[], Awaitable[RollupProgress]],
    presence: Presence,
    keep_s: float,
) -> Api:
    """Return the API over a reader; `progress` is how far each level is rolled up, answers are cached for `keep_s`."""
    cache: SharedCache[Hashable, ReplyBody] = SharedCache(keep_s, CACHE_ENTRIES, time.monotonic)
    return Api(
        reader,
        ApiAccess(
            tokens,
            PageSessions(reader, tokens.find, time.time, time.monotonic),
            failures=RateLimit(20, RETRY_AFTER_S, time.monotonic),
            openings=RateLimit(100, RETRY_AFTER_S, time.monotonic),
        ),
        EndpointAnswers(reader, progress, presence, time.time),
        Overview(reader, progress, presence, time.time),
        Signals(reader, SharedCache(keep_s, CACHE_ENTRIES, time.monotonic), lambda: datetime.now(UTC)),
        cache,
        package_version("endpoint-analytics"),
    )
