"""Reading the numbers of many endpoints as a scrape does."""

from __future__ import annotations

import asyncio
from datetime import datetime

from endpoint_analytics.pipeline.store.endpoint_metrics import MetricsSettings, read_metrics
from endpoint_analytics.pipeline.store.endpoint_numbers import EndpointMetrics
from endpoint_analytics.pipeline.store.progress import read_progress
from endpoint_analytics.pipeline.store.read_model import Moment
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.scope import Key, Scope


def metrics_of(reader: Reader, scope: Scope, now: datetime) -> dict[Key, EndpointMetrics]:
    """Return the metrics of the scope's endpoints at `now`, with the usual settings."""
    settings = MetricsSettings()

    async def read() -> dict[Key, EndpointMetrics]:
        moment = Moment(await read_progress(reader), settings.presence, now)
        return await read_metrics(reader, scope, moment, settings.quantile_window)

    return asyncio.run(read())
