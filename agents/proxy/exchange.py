"""One request through the proxy: connects client and server, and reports to the recorder.

The rules of a request's lifecycle are here: it arrives with the last byte of its head, has its status once the response
head is written, and is finished once the last byte has left the proxy for the client. While no server is reachable, the
request is held here for up to `hold_s`, and counts as unassigned.
"""

from __future__ import annotations

import asyncio

from endpoint_analytics.agents.core.clock import now_ns
from endpoint_analytics.agents.core.exclusion import is_excluded, path_of
from endpoint_analytics.agents.core.recorder import ENDED, RecordedRequest, Recorder
from endpoint_analytics.agents.proxy.forwarding import request_bytes, response_bytes
from endpoint_analytics.agents.proxy.head import RequestHead, ResponseHead
from endpoint_analytics.agents.proxy.interfaces import BLOCKED, UNSENT, ClientSide, ProxyContext
from endpoint_analytics.agents.proxy.outcome_watch import ExchangeWatch
from endpoint_analytics.agents.proxy.upstream import SWITCHED, UpstreamConnection

UNSENT_BYTES = 65_536
CONTINUE = 100
"""Not counted: it says nothing about the request, and neither a middleware nor an access log sees it."""
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


class ProxyExchange:
    """Created when a request's head was read; `client_gone` may be called at any time."""

    __slots__ = (
        "_client",
        "_connecting",
        "_context",
        "_ends_by_close",
        "_is_blocked",
        "_is_sent",
        "_is_unrecorded",
        "_last_progress",
        "_last_progress_s",
        "_passed_bytes",
        "_sent_s",
        "_unsent",
        "_unsent_bytes",
        "_watch",
        "closes",
        "head",
        "is_over",
        "is_responded",
        "is_tunnel",
        "method",
        "request",
        "upstream",
    )

    def __init__(self, client: ClientSide, head: RequestHead, context: ProxyContext) -> None:
        self._client = client
        self._context = context
        self.head = head
        self.method = head.method
        self.upstream: UpstreamConnection | None = None
        self.closes = head.wants_close
        self.is_over = self.is_responded = self.is_tunnel = False
        self._ends_by_close = False
        self._is_sent = False
        self._sent_s = 0.0
        self._is_blocked = False
        self._passed_bytes = 0
        self._last_progress = (0, 0, 0)
        self._last_progress_s = context.loop.time()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._connecting: asyncio.Task[None] | None = None
        # An upgrade counts as a request only if the server does not switch protocols; and while no server is reachable,
        # it is unknown which replica the request belongs to.
        upstream = context.pool.take()
        self._is_unrecorded = bool(head.upgrade) or (upstream is None and context.settings.hold_s > 0)
        recorder = context.recorder
        if context.excluded and is_excluded(
            path_of(head.target.decode("utf-8", "replace")), context.excluded
        ):
            self._is_unrecorded = False
            self.request = recorder.pass_over()
        elif self._is_unrecorded:
            self.request = RecordedRequest(recorder, recorder.clock())
        else:
            self.request = recorder.arrive()
        self.upstream = upstream
        self._watch: ExchangeWatch | None = None
        watcher = context.watcher
        if watcher is not None and self.request.stage != ENDED:
            self.request.headers = head
            if watcher.is_all:
                self._watch = watcher.arrived(self.request, head)

    def begin(self, piece: bytes, *, is_last: bool) -> None:
        """Send the request, with the part of its body that has arrived."""
        if piece:
            self._unsent.append(piece)
            if self._watch is not None:
                self._watch.sent(piece)
        self._is_sent = is_last
        if self.upstream is None:
            self._connect()
        else:
            self._attach(self.upstream)

    def send(self, piece: bytes, *, is_last: bool) -> None:
        """Send more of the body, or of a tunnel."""
        self._is_sent = is_last
        self._passed_bytes += len(piece)
        if self._watch is not None and not self.is_tunnel:
            self._watch.sent(piece)
        if self.upstream is not None:
            self.upstream.transport.write(piece)
            if is_last:
                self._sent_s = self._context.loop.time()
        elif not self.is_over:
            self._unsent.append(piece)
            self._unsent_bytes += len(piece)
            if self._unsent_bytes > UNSENT_BYTES:
                self._client.pause(UNSENT)

    def _attach(self, upstream: UpstreamConnection) -> None:
        self.upstream = upstream
        upstream.use(self)
        head = request_bytes(self.head, self._client.address, self._context.settings.forwarded)
        upstream.transport.write(b"".join([head, *self._unsent]) if self._unsent else head)
        if self._unsent:
            self._unsent.clear()
            self._client.resume(UNSENT)
        if self._is_sent:
            self._sent_s = self._context.loop.time()

    def _connect(self) -> None:
        self._connecting = self._context.loop.create_task(self._connect_within(self._context.settings.hold_s))

    async def _connect_within(self, hold_s: float) -> None:
        context = self._context
        until_s = context.loop.time() + hold_s
        while True:
            try:
                upstream = await context.pool.connect()
            except OSError as error:
                reason = str(error) or f"no connection within {context.settings.connect_timeout_s:g} s"
                context.reachability.missed(reason)
                left_s = until_s - context.loop.time()
                if left_s > 0 and not self.head.upgrade:
                    self._admit(context.unassigned)
                    if await context.reachability.wait(left_s):
                        continue
                self._refuse(502, "the server cannot be reached")
                return
            if not self.head.upgrade:
                self._admit(context.recorder)
            self._attach(upstream)
            return

    def _admit(self, recorder: Recorder) -> None:
        """Record a request that was not recorded yet, with its original arrival time and what is known of it."""
        if self._is_unrecorded:
            self._is_unrecorded = False
            early, self.request = self.request, recorder.arrive()
            if self.request.stage != ENDED:
                self.request.arrived_ns = early.arrived_ns
                self.request.headers, self.request.details = early.headers, early.details

    def informed(self, head: ResponseHead) -> None:
        """Forward an interim response; after a 101 the connection is a tunnel and no longer a request."""
        if head.status == SWITCHED and not self.head.upgrade:
            self._give_up("the server switched protocols without being asked to")
            return
        if head.status != CONTINUE:
            self.request.respond_interim(head.status)
        if head.status == SWITCHED:
            self.is_tunnel = self.is_responded = True
        if self.head.minor_version:
            self._client.transport.write(response_bytes(head, closes=False))
        self._passed_bytes += 1
        if self.is_tunnel:
            self._client.tunnelled()
        self._sent_s = self._context.loop.time() if self._is_sent else 0.0

    def responded(self, head: ResponseHead, piece: bytes, *, ends_by_close: bool) -> None:
        """The response starts; if the client hung up before, the hang-up counts."""
        if self._client.is_gone():
            self.client_gone()
            return
        if head.is_chunked and not self.head.minor_version:
            self._give_up("the server sent a chunked response to an HTTP/1.0 request")
            return
        self._passed_bytes += 1 + len(piece)
        self._ends_by_close = ends_by_close
        self.closes = self.closes or ends_by_close or self._context.is_draining
        self.is_responded = True
        self._admit(self._context.recorder)
        written_ns = now_ns()
        self._client.transport.write(response_bytes(head, closes=self.closes) + piece)
        self.request.respond(head.status)
        watcher = self._context.watcher
        if watcher is not None:
            watch = self._watch = watcher.responded(self.request, self._watch, self.head, head)
            if watch is not None and piece:
                watch.received(piece, written_ns)

    def received(self, piece: bytes) -> None:
        """Forward more of the response; if the client hung up before, the hang-up counts."""
        if not self.is_tunnel and self._client.is_gone():
            self.client_gone()
            return
        self._passed_bytes += len(piece)
        if self._watch is None:
            self._client.transport.write(piece)
            return
        written_ns = now_ns()
        self._client.transport.write(piece)
        self._watch.received(piece, written_ns)

    def completed(self, *, reusable: bool) -> None:
        """The response is complete; reuse the connection to the server, or close it."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            if reusable and self._is_sent:
                self._context.pool.put(upstream)
            else:
                upstream.transport.close()
        if not self.is_over:
            self._complete()
            self.is_over = True
            self._client.ended()

    def lost(self, reason: str) -> None:
        """The server closed the connection before the response was complete."""
        upstream, self.upstream = self.upstream, None
        if self.is_over:
            return
        if self.is_tunnel:
            self.is_over = True
            self._client.ended()
        elif self.is_responded:
            self.is_over = True
            self._complete()
            self.request.abort()
            self._client.cut(resets=self._ends_by_close)
        elif (
            upstream is not None
            and not (upstream.is_fresh or upstream.has_received or self.head.has_body)
            and self.method in IDEMPOTENT
        ):
            self._connect()  # the server closed an idle connection just as this request was sent
        else:
            self._refuse(502, reason)

    def blocked(self, *, is_blocked: bool) -> None:
        """The server reads slowly: stop reading from the client."""
        self._is_blocked = is_blocked
        if is_blocked:
            self._client.pause(BLOCKED)
        else:
            self._client.resume(BLOCKED)

    def tick(self, now_s: float) -> None:
        """Give up on a response that does not start, and on a body that has stalled."""
        if self.is_tunnel:
            return
        settings, upstream = self._context.settings, self.upstream
        limit_s = settings.response_timeout_s
        if self._sent_s and not self.is_responded and now_s - self._sent_s > limit_s:
            self._refuse(504, f"no response from the server within {limit_s:g} s")
            return
        to_server = upstream.transport.get_write_buffer_size() if upstream is not None else 0
        progress = (self._passed_bytes, to_server, self._client.transport.get_write_buffer_size())
        if progress != self._last_progress or (upstream is None and not self.is_responded):
            self._last_progress, self._last_progress_s = progress, now_s
        silent_s = now_s - self._last_progress_s
        if self.is_responded:
            if silent_s > limit_s:  # the server is silent, or the client does not read
                self._stalled()
        elif not self._is_sent:
            if self._is_blocked and silent_s > limit_s:
                self._refuse(504, f"the server has not read any data for {limit_s:g} s")
            elif not self._is_blocked and silent_s > settings.body_timeout_s:
                self._refuse(408, f"no body data from the client for {settings.body_timeout_s:g} s")

    def _stalled(self) -> None:
        """Cut off a stalled response."""
        self.is_over = True
        self._complete()
        self.request.abort()
        self._release()
        self._client.cut(resets=True)

    def client_gone(self) -> None:
        """The client left: end the request on both sides."""
        if not self.is_over:
            self.is_over = True
            if not self.is_tunnel:
                self._admit(self._context.recorder)
                self._complete()
                self.request.abort()
            self._release()

    def body_malformed(self, reason: str) -> None:
        """The request's body cannot be forwarded: the server must see that it is incomplete."""
        if self.is_responded:
            self.client_gone()
            self._client.cut(resets=True)
        else:
            self.closes = True
            self._refuse(400, reason)

    def _give_up(self, reason: str) -> None:
        self._release()
        self._refuse(502, reason)

    def _refuse(self, status: int, reason: str) -> None:
        if self.is_over:
            return
        self.is_over = self.is_responded = True
        self._release()
        self._admit(self._context.recorder)
        self._complete()
        if not self._is_sent:
            self.closes = True
        self._client.refuse(status, reason)

    def _complete(self) -> None:
        """Complete the request's details, before it ends."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.ended()

    def _release(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abandon()
        connecting, self._connecting = self._connecting, None
        if connecting is not None and connecting is not asyncio.current_task():
            connecting.cancel()
