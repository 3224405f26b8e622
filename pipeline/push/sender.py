"""Posts one OTLP message until it is accepted, refused, or no longer worth sending.

https://opentelemetry.io/docs/specs/otlp/#otlphttp-response: 429, 502, 503 and 504 and lost connections are tried again,
with the same bytes; everything else is final. Headers and bodies of answers are never logged: they may hold secrets.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import aiohttp
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

log = logging.getLogger(__name__)

RETRIED = frozenset({429, 502, 503, 504})
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024


@dataclass(slots=True)
class PushCounts:
    """Since the start: messages by outcome (`accepted`, `refused`, `given_up`), tries, and rejected data points."""

    messages: Counter[str] = field(default_factory=Counter)
    tries: int = 0
    rejected_points: int = 0


class Sender:
    """Posts to `url` with `headers`; `clock` is a monotonic clock in seconds. Use it as a context manager."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        ssl_context: ssl.SSLContext | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.counts = PushCounts()
        self._url = url
        self._shown = url.partition("?")[0]  # a query may have a token
        self._headers = {
            **headers,
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
        }
        self._ssl = ssl_context
        self._clock = clock
        self._sleep = sleep
        self._failing = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            connector=aiohttp.TCPConnector(ssl=self._ssl if self._ssl is not None else True),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(self, message: ExportMetricsServiceRequest, until_s: float) -> bool:
        """Send the message; return whether it was accepted, at `until_s` by the clock at the latest."""
        body = gzip.compress(message.SerializeToString(), compresslevel=1, mtime=0)
        pause_s = FIRST_PAUSE_S
        refusal = "the interval is over"
        while True:
            if self._clock() >= until_s:
                return self._fail("given_up", refusal)
            self.counts.tries += 1
            refusal, wait_s = await self._post(body, min(TIMEOUT_S, until_s - self._clock()))
            if not refusal:
                self._succeed()
                return True
            if wait_s is None:
                return self._fail("refused", refusal)
            wait_s = max(wait_s, pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # it only spreads retries
            if self._clock() + wait_s >= until_s:
                return self._fail("given_up", refusal)
            await self._sleep(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _post(self, body: bytes, within_s: float) -> tuple[str, float | None]:
        """Return why it was not accepted ("" if it was), and how long to wait at least, None if it is final."""
        try:
            limit = aiohttp.ClientTimeout(total=within_s)
            async with self._session.post(
                self._url, data=body, allow_redirects=False, timeout=limit
            ) as answer:
                if answer.status == 200:
                    self._note_partial_success(await answer.content.read(MAX_ANSWER_BYTES))
                    return "", None
                wait_s = _seconds(answer.headers.get("Retry-After", ""))
                return f"status {answer.status}", wait_s if answer.status in RETRIED else None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}".replace(self._url, self._shown), 0.0

    def _note_partial_success(self, body: bytes) -> None:
        try:
            partial = ExportMetricsServiceResponse.FromString(body).partial_success
        except DecodeError:  # it was accepted, whatever it says
            return
        if partial.rejected_data_points:
            if not self.counts.rejected_points:
                log.warning("%s rejects some data points; they are counted", self._shown)
            self.counts.rejected_points += partial.rejected_data_points

    def _succeed(self) -> None:
        self.counts.messages["accepted"] += 1
        if self._failing:
            log.info("%s accepts metrics again", self._shown)
            self._failing = ""

    def _fail(self, outcome: str, why: str) -> bool:
        self.counts.messages[outcome] += 1
        if why != self._failing:
            log.error("%s does not accept metrics, newer ones follow: %s", self._shown, why)
            self._failing = why
        return False


def _seconds(retry_after: str) -> float:
    """Return a Retry-After in seconds; 0 for a date, which few receivers send."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else 0.0
