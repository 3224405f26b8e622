"""One websocket's handshake through ASGI: a request when it is refused; when it is accepted a 101, and no request.

So it is counted by a proxy and in a server's log. What passes after the handshake is not looked at.
"""

from __future__ import annotations

from typing import Any

from endpoint_analytics.agents.core.recorder import PENDING, Recorder, Request
from endpoint_analytics.agents.middleware.asgi_connection import Message, Receive, Send, server_of
from endpoint_analytics.agents.middleware.harmless import harmless, report_bug

SWITCHED = 101
REFUSED = 403
"""What servers make of `websocket.close` in place of `websocket.accept` (ASGI, "Close - send event")."""


class Handshake:
    """Give `receive` and `send` to the application; call `returned` or `failed` when it is through."""

    __slots__ = ("_arrived_ns", "_is_over", "_receive", "_recorder", "_refusal", "_send")

    def __init__(self, recorder: Recorder, receive: Receive, send: Send) -> None:
        self._recorder = recorder
        self._arrived_ns = recorder.clock()
        self._receive = receive
        self._send = send
        self._refusal: Request | None = None
        self._is_over = False

    async def receive(self) -> Message:
        """Pass on the server's message; a client that goes before it has its answer is an abort."""
        message = await self._receive()
        if not self._is_over:
            try:
                if message["type"] == "websocket.disconnect":
                    self._end(None)
            except Exception as error:  # noqa: BLE001  # ours
                self.give_up(error)
        return message

    async def send(self, message: Message) -> None:
        """Pass on the application's message, and record what became of the handshake once the server has taken it."""
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
                Request(self._recorder, self._arrived_ns).inform(SWITCHED)
            elif kind == "websocket.close":
                self._end(REFUSED)
            elif kind == "websocket.http.response.start":
                self._admit().respond(message["status"])
            elif kind == "websocket.http.response.body" and not message.get("more_body"):
                self._is_over = True
                self._admit().finish()
        except Exception as error:  # noqa: BLE001  # ours
            self.give_up(error)

    def returned(self) -> None:
        """The application returned. Without an answer the server gives one."""
        self.failed()

    @harmless
    def failed(self) -> None:
        """The application raised. Without an answer the server gives one; a begun one is cut off."""
        if not self._is_over:
            owner: Any = type(getattr(self._receive, "__self__", None))
            self._end(server_of(owner).unanswered_handshake if self._refusal is None else None)

    @harmless
    def broken(self) -> None:
        """The server could not send."""
        self._end(None)

    def _admit(self) -> Request:
        """Return the request of a handshake that is refused, as having arrived when it did."""
        if self._refusal is None:
            self._refusal = self._recorder.arrive()
            if self._refusal.stage == PENDING:  # a full recorder gives one that has ended
                self._refusal.arrived_ns = self._arrived_ns
        return self._refusal

    def _end(self, status: int | None) -> None:
        """Record the end, with the status of a whole answer or, without one, as aborted."""
        if not self._is_over:
            self._is_over = True
            request = self._admit()
            if status is None:
                request.abort()
            else:
                request.respond(status)
                request.finish()

    def give_up(self, error: Exception) -> None:
        """Record no more of this handshake; raises nothing."""
        self._is_over = True
        report_bug(error)
