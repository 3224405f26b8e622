"""The HTTP side of the receiver: POST /v1/traces, answered once Kafka has stored what the spans became.

https://opentelemetry.io/docs/specs/otlp/#otlphttp: 200 confirms (with a partial success for rejected spans), 429 and
503 with Retry-After ask to send the same again, any other status says that it must not be sent again.
"""

from __future__ import annotations

import asyncio
import hmac

from aiohttp import web

from endpoint_analytics.agents.otlp.admission import Admission, RefusedError, until_stored
from endpoint_analytics.agents.otlp.answers import encode_response, encode_status
from endpoint_analytics.agents.otlp.decoding import JSON, PROTOBUF
from endpoint_analytics.agents.otlp.delivery import Delivery
from endpoint_analytics.agents.otlp.errors import BadBodyError
from endpoint_analytics.agents.otlp.intake import Received
from endpoint_analytics.agents.otlp.rejections import explain
from endpoint_analytics.agents.otlp.settings import Limits, Unconfirmed
from endpoint_analytics.agents.otlp.tally import Tally

TRACES, STATUS = "/v1/traces", "/status"
RETRY_AFTER_S = 2
BODY_WITHIN_S = 30.0
MAX_REQUESTS = 512
"""Most export requests at once; further ones are asked to come again."""


class Receiver:
    """Answers export requests; `unconfirmed` says what becomes of what Kafka does not store in time."""

    def __init__(
        self,
        admission: Admission,
        delivery: Delivery,
        tally: Tally,
        token: str = "",
        limits: Limits | None = None,
        unconfirmed: Unconfirmed = "keep",
    ) -> None:
        self._admission = admission
        self._delivery = delivery
        self._tally = tally
        self._token = token.encode()
        self._limits = limits or Limits()
        self._returns = unconfirmed == "return"
        self._held_bytes = 0
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
        except RefusedError as error:
            return _retry(error.status, str(error), kind)
        except BadBodyError as error:
            self._tally.bad_bodies.add(1, str(error))
            return _error(error.status, str(error), kind)
        finally:
            self._requests -= 1

    async def _answer(self, request: web.Request, kind: str) -> web.Response:
        if self._delivery.is_full:
            raise RefusedError(429, "too many requests wait for Kafka")
        received = await self._receive(request, kind)
        try:
            is_stored = await until_stored(received, self._limits.answer_s)
        except asyncio.CancelledError:  # the exporter has hung up, and may send it again, to whom it likes
            self._return(received, "their exporters hung up before Kafka confirmed them")
            raise
        if not is_stored:
            self._return(received, f"Kafka did not confirm them within {self._limits.answer_s:g} s")
            raise RefusedError(503, "Kafka has not confirmed in time: send it again")
        number = sum(received.rejected.values())
        return web.Response(
            body=encode_response(number, explain(received.rejected), kind), headers={"Content-Type": kind}
        )

    async def _receive(self, request: web.Request, kind: str) -> Received:
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        body = await self._read_in_time(request)
        try:
            return await self._admission.admit_if_possible(
                body, kind, encoding, self._limits.body_bytes, whole=self._returns
            )
        finally:
            self._held_bytes -= len(body)

    def _return(self, received: Received, why: str) -> None:
        """Leave what is not being sent yet to its exporter, if that is what the owner wants."""
        if self._returns and (number := self._delivery.take_back(received)):
            self._tally.returned.add(number, why)

    async def _read_in_time(self, request: web.Request) -> bytes:
        """Return the body, which is counted in `_held_bytes`; raises RefusedError and BadBodyError."""
        pieces: list[bytes] = []
        held = 0
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                async for piece in request.content.iter_any():
                    if self._held_bytes + len(piece) > self._limits.held_bytes:
                        raise RefusedError(429, "too many bodies are being read")
                    pieces.append(piece)
                    held += len(piece)
                    self._held_bytes += len(piece)
                    if held > self._limits.body_bytes:
                        raise BadBodyError(413, f"the body is larger than {self._limits.body_bytes} bytes")
        except BaseException as error:
            self._held_bytes -= held
            if isinstance(error, TimeoutError):
                raise RefusedError(503, f"the body did not arrive within {BODY_WITHIN_S:.0f} s") from None
            raise
        return b"".join(pieces)

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
                "replicas": self._delivery.known,
                "waiting": self._delivery.waiting,
                "spans": dict(self._tally.spans),
                "rejected": dict(self._tally.rejected),
                "bad_bodies": self._tally.bad_bodies.count,
                "unreadable": self._tally.unreadable.count,
                "returned": self._tally.returned.count,
                "lost_states": self._tally.lost_states.count,
            }
        )


def _retry(status: int, why: str, kind: str) -> web.Response:
    return _error(status, why, kind, {"Retry-After": str(RETRY_AFTER_S)})


def _error(status: int, why: str, kind: str, headers: dict[str, str] | None = None) -> web.Response:
    kind = JSON if kind == JSON else PROTOBUF
    return web.Response(
        status=status, body=encode_status(why, kind), headers={"Content-Type": kind, **(headers or {})}
    )
