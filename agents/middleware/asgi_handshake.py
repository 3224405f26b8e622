"""One websocket handshake through ASGI: a refused one counts as a request, an accepted one only as a 101.

This matches how a proxy and a server's access log count it. What follows the handshake is not recorded.
"""

from __future__ import annotations

from typing import Any

from endpoint_analytics.agents.core.recorder import PENDING, RecordedRequest, Recorder
from endpoint_analytics.agents.middleware.asgi_connection import Message, Receive, Send, server_of
from endpoint_analytics.agents.middleware.harmless import harmless, report_bug

SWITCHED = 101
REFUSED = 403
"""The status that servers send for `websocket.close` instead of `websocket.accept` (ASGI, "Close - send event")."""


class Handshake:
    """Pass `receive` and `send` to the application; call `returned` or `failed` when it is done."""

    __slots__ = ("_arrived_ns", "_is_over", "_receive", "_recorder", "_refusal", "_send")

    def __init__(self, recorder: Recorder, receive: Receive, send: Send) -> None:
        self._recorder = recorder
        self._arrived_ns = recorder.clock()
        self._receive = receive
        self._send = send
        self._refusal: RecordedRequest | None = None
        self._is_over = False

    async def receive(self) -> Message:
        """Pass on the server's message; a client that leaves before it has its answer is an abort."""
        message = await self._receive()
        if not self._is_over:
            try:
                if message["type"] == "websocket.disconnect":
                    self._end(None)
            except Exception as error:  # noqa: BLE001  # a bug of the middleware
                self.give_up(error)
        return message

    async def send(self, message: Message) -> None:
        """Pass on the application's message, and record the handshake's outcome once the server has accepted it."""
        try:
            await self._send(message)
        except OSError:
            self.broken()
            raise
        if self._is_over:
            return
        try:
            kind = message["type"]
            if kind == "websocket.accept":
                self._is_over = True
                RecordedRequest(self._recorder, self._arrived_ns).respond_interim(SWITCHED)
            elif kind == "websocket.close":
                self._end(REFUSED)
            elif kind == "websocket.http.response.start":
                self._admit().respond(message["status"])
            elif kind == "websocket.http.response.body" and not message.get("more_body"):
                self._is_over = True
                self._admit().finish()
        except Exception as error:  # noqa: BLE001  # a bug of the middleware
            self.give_up(error)

    def returned(self) -> None:
        """The application returned. If it sent no answer, the server sends one."""
        self.failed()

    @harmless
    def failed(self) -> None:
        """The application raised. If it sent no answer, the server sends one; one that has started is cut off."""
        if not self._is_over:
            owner: Any = type(getattr(self._receive, "__self__", None))
            self._end(server_of(owner).unanswered_handshake if self._refusal is None else None)

    @harmless
    def broken(self) -> None:
        """The server failed to send."""
        self._end(None)

    def _admit(self) -> RecordedRequest:
        """Return the request of a refused handshake, with its original arrival time."""
        if self._refusal is None:
            self._refusal = self._recorder.arrive()
            if self._refusal.stage == PENDING:  # a full recorder returns one that has ended
                self._refusal.arrived_ns = self._arrived_ns
        return self._refusal

    def _end(self, status: int | None) -> None:
        """Record the end: with the status of a complete answer, or as aborted without one."""
        if not self._is_over:
            self._is_over = True
            request = self._admit()
            if status is None:
                request.abort()
            else:
                request.respond(status)
                request.finish()

    def give_up(self, error: Exception) -> None:
        """Stop recording this handshake; raises nothing."""
        self._is_over = True
        report_bug(error)
