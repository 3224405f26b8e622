"""Posts one OTLP message until it is accepted, refused, or no longer worth sending.

https://opentelemetry.io/docs/specs/otlp/#otlphttp-response: 429, 502, 503 and 504 and lost connections are tried again,
with the same bytes; every other status but 2xx is final. Headers and bodies of answers are never logged, nor is the
query of the URL: they may hold secrets. `failures` says in our words what went wrong.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Self

import aiohttp
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from endpoint_analytics.pipeline.push.failures import no_answer, refused

log = logging.getLogger(__name__)

RETRIED = frozenset({429, 502, 503, 504})
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
TIMEOUT_S = 10.0
LONGEST_RETRY_AFTER_S = 300.0
"""A receiver that asks for a longer wait is tried again after this."""
MAX_ANSWER_BYTES = 64 * 1024
INTERVAL_OVER = "the interval is over"


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
        self._not_before_s = 0.0  # by the clock: what Retry-After asked for
        self._reasons: set[str] = (
            set()
        )  # of the failures since it last accepted everything: each is logged once
        self._missed = 0  # messages since then
        self._round: Counter[bool] = Counter()  # messages of this round, by whether they were accepted

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
        why = INTERVAL_OVER
        start_s = self._not_before_s
        while start_s < until_s:
            if (wait_s := start_s - self._clock()) > 0:
                await self._sleep(wait_s)
            if (within_s := until_s - self._clock()) <= 0:
                break
            self.counts.tries += 1
            why, is_final = await self._post(body, min(TIMEOUT_S, within_s))
            if not why:
                return self._accepted()
            if is_final:
                return self._fail("refused", why)
            spread_s = pause_s * random.uniform(0.5, 1.0)  # noqa: S311  # it only spreads retries
            start_s = max(self._clock() + spread_s, self._not_before_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        return self._fail("given_up", why)

    def end_round(self) -> None:
        """Say that the receiver accepts metrics again, if it accepted all messages since the last call."""
        if self._reasons and self._round[True] and not self._round[False]:
            log.info("%s accepts metrics again; messages that it did not get: %d", self._shown, self._missed)
            self._reasons.clear()
            self._missed = 0
        self._round.clear()

    async def _post(self, body: bytes, within_s: float) -> tuple[str, bool]:
        """Return why it was not accepted ("" if it was), and whether that is final."""
        try:
            limit = aiohttp.ClientTimeout(total=within_s)
            async with self._session.post(
                self._url, data=body, allow_redirects=False, timeout=limit
            ) as answer:
                if 200 <= answer.status < 300:
                    await self._note_partial_success(answer)
                    return "", True
                after_s = _seconds(answer.headers.get("Retry-After", ""))
                if answer.status not in RETRIED:
                    return refused(answer.status), True
                self._not_before_s = self._clock() + min(after_s, LONGEST_RETRY_AFTER_S)
                return refused(answer.status), False
        except (aiohttp.ClientError, OSError, UnicodeError) as error:  # UnicodeError: of a host's name
            return no_answer(error), False

    async def _note_partial_success(self, answer: aiohttp.ClientResponse) -> None:
        body = b""
        try:
            while len(body) < MAX_ANSWER_BYTES and (piece := await answer.content.read(MAX_ANSWER_BYTES)):
                body += piece
            partial = ExportMetricsServiceResponse.FromString(body).partial_success
        except (aiohttp.ClientError, OSError, DecodeError):  # it was accepted, whatever it says
            return
        if partial.rejected_data_points:
            if not self.counts.rejected_points:
                log.warning("%s rejects some data points; they are counted", self._shown)
            self.counts.rejected_points += partial.rejected_data_points

    def _accepted(self) -> bool:
        self.counts.messages["accepted"] += 1
        self._round[True] += 1
        return True

    def _fail(self, outcome: str, why: str) -> bool:
        self.counts.messages[outcome] += 1
        self._round[False] += 1
        self._missed += 1
        if why not in self._reasons and (why != INTERVAL_OVER or not self._reasons):
            log.error("%s does not accept metrics, newer ones follow: %s", self._shown, why)
            self._reasons.add(why)
        return False


def _seconds(retry_after: str) -> float:
    """Return a Retry-After, which is a number or a date (RFC 9110, 10.2.3), in seconds from now; 0 if it is neither."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(at.timestamp() - time.time(), 0.0)
