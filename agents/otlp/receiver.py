"""The HTTP side of the receiver: POST /v1/traces, answered once Kafka has stored what the spans became.

https://opentelemetry.io/docs/specs/otlp/#otlphttp: 200 confirms (with a partial success for rejected spans), 429 and
503 with Retry-After ask to send the same again, any other status says that it must not be sent again.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from endpoint_analytics.agents.otlp.decoding import (
    JSON,
    PROTOBUF,
    BadBodyError,
    decode_request,
    encode_response,
    encode_status,
    plain_body,
)
from endpoint_analytics.agents.otlp.delivery import Delivery
from endpoint_analytics.agents.otlp.intake import Intake, Received
from endpoint_analytics.agents.otlp.rejections import explain
from endpoint_analytics.agents.otlp.settings import Limits
from endpoint_analytics.agents.otlp.tally import Tally

TRACES, STATUS = "/v1/traces", "/status"
RETRY_AFTER_S = 2
BODY_WITHIN_S = 30.0
KEEP_ALIVE_S = 75.0
STOP_WITHIN_S = 5.0
MAX_CONNECTIONS = 1_000
MAX_REQUESTS = 512
"""Most export requests at once; further ones are asked to come again."""


class Receiver:
    """Answers export requests."""

    def __init__(
        self,
        intake: Intake,
        delivery: Delivery,
        tally: Tally,
        token: str = "",
        limits: Limits | None = None,
    ) -> None:
        self._intake = intake
        self._delivery = delivery
        self._tally = tally
        self._token = token.encode()
        self._limits = limits or Limits()
        self._reading_bytes = 0
        self._requests = 0

    def application(self) -> web.Application:
        """Return the web application; run it without `auto_decompress`: bodies are decompressed here, bounded."""
        application = web.Application()
        application.router.add_post(TRACES, self._export)
        application.router.add_get(STATUS, self._status)
        return application

    async def _export(self, request: web.Request) -> web.Response:
        kind = request.content_type
        if not self._is_allowed(request):
            return _error(401, "a bearer token is required", kind, {"WWW-Authenticate": "Bearer"})
        if self._requests >= MAX_REQUESTS:
            return _retry(429, "too many requests at once", kind)
        self._requests += 1
        try:
            return await self._answer(request, kind)
        except BadBodyError as error:
            self._tally.add_bad_body(str(error))
            return _error(error.status, str(error), kind)
        finally:
            self._requests -= 1

    async def _answer(self, request: web.Request, kind: str) -> web.Response:
        if self._delivery.is_full:
            return _retry(429, "too many requests wait for Kafka", kind)
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                body = await self._read(request)
        except TimeoutError:
            return _retry(503, f"the body did not arrive within {BODY_WITHIN_S:.0f} s", kind)
        if body is None:
            return _retry(429, "too many bodies are being read", kind)
        if self._delivery.is_full:  # while the body was read
            return _retry(429, "too many requests wait for Kafka", kind)
        received = self._received(body, kind, request.headers.get("Content-Encoding", "").strip().lower())
        del body  # it may be large, and Kafka slow
        stored = self._delivery.put(received)
        done, _ = await asyncio.wait({stored}, timeout=self._limits.answer_s)
        if not done:
            return _retry(
                503, "Kafka has not confirmed in time: send it again, it is not counted twice", kind
            )
        if stored.cancelled():
            return _retry(503, "it was not stored: send it again", kind)
        number = sum(received.rejected.values())
        return web.Response(
            body=encode_response(number, explain(received.rejected), kind), headers={"Content-Type": kind}
        )

    def _received(self, body: bytes, kind: str, encoding: str) -> Received:
        message = decode_request(plain_body(body, encoding, self._limits.body_bytes), kind)
        received = self._intake.read(message, time.time_ns() // 1_000)
        self._tally.add(received, time.monotonic())
        return received

    async def _read(self, request: web.Request) -> bytes | None:
        """Return the body, None if too many are being read; raises BadBodyError if it is too large."""
        pieces: list[bytes] = []
        held = 0
        try:
            async for piece in request.content.iter_any():
                if self._reading_bytes + len(piece) > self._limits.reading_bytes:
                    return None
                held += len(piece)
                self._reading_bytes += len(piece)
                if held > self._limits.body_bytes:
                    raise BadBodyError(413, f"the body is larger than {self._limits.body_bytes} bytes")
                pieces.append(piece)
            return b"".join(pieces)
        finally:
            self._reading_bytes -= held

    def _is_allowed(self, request: web.Request) -> bool:
        if not self._token:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)

    async def _status(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        return web.json_response(
            {
                "replicas": len(self._delivery.replicas),
                "waiting": self._delivery.waiting,
                "spans": dict(self._tally.spans),
                "rejected": dict(self._tally.rejected),
                "bad_bodies": self._tally.bad_bodies,
            }
        )


class _Refused(asyncio.Protocol):
    """A connection beyond the limit: it is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@asynccontextmanager
async def listening(
    receiver: Receiver, host: str, port: int, ssl_context: ssl.SSLContext | None
) -> AsyncIterator[int]:
    """Serve while entered; returns the port. Raises OSError if the address is not available."""
    runner = web.AppRunner(
        receiver.application(),
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=KEEP_ALIVE_S,
        shutdown_timeout=STOP_WITHIN_S,
    )
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("setup() makes the server")

    def connect() -> asyncio.Protocol:
        return server() if len(server.connections) < MAX_CONNECTIONS else _Refused()

    try:
        listener = await asyncio.get_running_loop().create_server(connect, host, port, ssl=ssl_context)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
    finally:
        await runner.cleanup()


def _retry(status: int, why: str, kind: str) -> web.Response:
    return _error(status, why, kind, {"Retry-After": str(RETRY_AFTER_S)})


def _error(status: int, why: str, kind: str, headers: dict[str, str] | None = None) -> web.Response:
    kind = JSON if kind == JSON else PROTOBUF
    return web.Response(
        status=status, body=encode_status(why, kind), headers={"Content-Type": kind, **(headers or {})}
    )
