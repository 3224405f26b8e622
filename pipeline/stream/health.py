"""The worker's health over HTTP: /health, /ready, /metrics. Off unless a port is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from endpoint_analytics.pipeline.exposition import openmetrics
from endpoint_analytics.pipeline.exposition.families import MetricFamily, Sample, family_of
from endpoint_analytics.pipeline.store.writer import RowWriter
from endpoint_analytics.pipeline.stream.rejected_sender import RejectedSender
from endpoint_analytics.pipeline.stream.stream_reader import StreamReader
from endpoint_analytics.schemas import worker_metrics as names


class HealthServer:
    """Answers for one worker; `assigned` returns the number of its partitions."""

    def __init__(
        self,
        readers: Sequence[StreamReader[Any]],
        writer: RowWriter,
        rejected: RejectedSender,
        assigned: Callable[[], int],
    ) -> None:
        self._readers = readers
        self._rejected = rejected
        self._writer = writer
        self._assigned = assigned
        application = web.Application()
        application.add_routes(
            [
                web.get("/health", self._health),
                web.get("/ready", self._ready),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self, host: str, port: int) -> None:
        """Start listening; raises OSError if the address is in use."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    def reason(self) -> str:
        """Return why the worker is not ready, or "" if it is."""
        if self._writer.failure:
            return f"rows cannot be stored: {self._writer.failure}"
        if failure := next((reader.failure for reader in self._readers if reader.failure), ""):
            return failure
        if not self._assigned():
            return "no partition is assigned"
        return ""

    def degraded(self) -> list[str]:
        """Return what does not work while everything else does: paused partitions, a missing topic."""
        lines = [line for reader in self._readers for line in reader.pauses.reasons()]
        lines += [self._rejected.failure] if self._rejected.failure else []
        return [f"degraded: {line}" for line in lines]

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _ready(self, _: web.Request) -> web.Response:
        reason = self.reason()
        lines = [reason or "ready", *self.degraded()]
        return web.Response(text="\n".join(lines) + "\n", status=503 if reason else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        body = openmetrics.render(self._families())
        return web.Response(body=body, headers={"Content-Type": openmetrics.CONTENT_TYPE})

    def _families(self) -> list[MetricFamily]:
        def by_stream(read: Callable[[StreamReader[Any]], int]) -> list[Sample]:
            return [Sample("_total", (("stream", r.stream),), read(r)) for r in self._readers]

        writer = self._writer
        return [
            family_of(names.MESSAGES, by_stream(lambda reader: reader.messages)),
            family_of(names.EVENTS, by_stream(lambda reader: reader.events)),
            family_of(names.REJECTED, by_stream(lambda reader: reader.rejected)),
            family_of(names.ROWS, [Sample("_total", (), writer.rows)]),
            family_of(names.STORE_FAILURES, [Sample("_total", (), writer.failures)]),
            family_of(names.PARTITIONS, [Sample("", (), self._assigned())]),
            family_of(names.UNSENT, [Sample("_total", (), self._rejected.unsent)]),
            family_of(names.UNREADABLE, by_stream(lambda reader: reader.unreadable_batches)),
            family_of(
                names.PAUSED, [Sample("", (("stream", r.stream),), len(r.pauses)) for r in self._readers]
            ),
        ]
