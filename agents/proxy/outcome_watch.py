"""What the proxy tells the outcome watch of an exchange: its heads, and the bodies without their framing.

It is told of a piece once that was forwarded, and when that began: a client cannot have it earlier. It changes nothing,
holds nothing back, and raises nothing: a bug in here, or in a reader of bodies, costs a request its details alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.exclusion import path_of
from endpoint_analytics.agents.core.recorder import RecordedRequest
from endpoint_analytics.agents.outcome.watch import (
    MODEL_PATHS,
    Header,
    OutcomeWatcher,
    Watch,
    glance,
)
from endpoint_analytics.agents.proxy.chunk_data import ChunkData
from endpoint_analytics.agents.proxy.head import RequestHead, ResponseHead
from endpoint_analytics.agents.proxy.model_routes import route_of

_BODYLESS = frozenset({204, 304})
_MODEL_PATHS = frozenset(path.encode() for path in MODEL_PATHS)


class ProxyWatcher:
    """Watches the exchanges of a proxy. `report` gets exceptions that are bugs of ours."""

    def __init__(self, config: AgentConfig, report: Callable[[Exception], None]) -> None:
        self._watcher = OutcomeWatcher(config, report)
        self._report = report
        self.is_all = self._watcher.is_all

    def arrived(self, request: RecordedRequest, head: RequestHead) -> ExchangeWatch | None:
        """A request arrived of which details are kept in any case (`is_all`): return its watch, None with a bug."""
        try:
            watch = self._watcher.arrived(request, head)
            if watch is None:
                return None
            if watch.counts_request:
                watch.details.request_bytes = 0
            return ExchangeWatch(watch, head, self._watcher, self._report)
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._report(error)
            return None

    def responded(
        self,
        request: RecordedRequest,
        exchange: ExchangeWatch | None,
        head: RequestHead,
        response: ResponseHead,
    ) -> ExchangeWatch | None:
        """A response's head was forwarded: return the watch of its body, a new one if that is worth reading."""
        try:
            if exchange is None and says_nothing(head.target, response.describing):
                return None
            watch = self._watcher.responded(
                request,
                None if exchange is None else exchange.watch,
                head.target.partition(b"?")[0].decode("latin-1"),
                response.status,
                _fields(response),
                has_body=response.status not in _BODYLESS and head.method != b"HEAD",
            )
            if watch is None:
                return None
            exchange = exchange or ExchangeWatch(watch, head, self._watcher, self._report)
            if response.is_chunked:
                exchange.chunks = ChunkData()
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._report(error)
            return None
        return exchange


class ExchangeWatch:
    """The details of one exchange's request, as far as they are known; `chunks` decodes a chunked response. No method
    raises."""

    __slots__ = ("_head", "_report", "_request_chunks", "_watcher", "chunks", "watch")

    def __init__(
        self, watch: Watch, head: RequestHead, watcher: OutcomeWatcher, report: Callable[[Exception], None]
    ) -> None:
        self.watch = watch
        self._head = head
        self._watcher = watcher
        self._report = report
        self._request_chunks = ChunkData() if head.is_chunked else None
        self.chunks: ChunkData | None = None

    def sent(self, piece: bytes) -> None:
        """A piece of the request's body was forwarded."""
        try:
            if self._request_chunks is not None:
                self.watch.request_piece(self._request_chunks.feed(piece))
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._request_chunks = None
            self._report(error)

    def received(self, piece: bytes, at_ns: int) -> None:
        """A piece of the response's body was forwarded; writing it began at this monotonic time."""
        try:
            reader = self.watch.reader
            if reader is not None:
                reader.read(piece if self.chunks is None else self.chunks.feed(piece), at_ns)
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self.watch.reader = None
            self._report(error)

    def ended(self) -> None:
        """The request ends now, however it does: its details are complete."""
        try:
            self._watcher.ended(self.watch, {"path": self._head.target}, _route_in)
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._report(error)


def says_nothing(target: bytes, describing: Sequence[Header]) -> bool:
    """Return whether a glance at a response's fields shows that it says nothing of itself, as most do not.

    Only for speed: the watcher would come to the same end.
    """
    found = glance(describing)  # whose names are lowercase: without a type there is nothing to read
    if found == "json":
        return target.partition(b"?")[0].rpartition(b"/")[2] not in _MODEL_PATHS
    return found != "unknown"


def _fields(response: ResponseHead) -> Sequence[Header]:
    if response.length is None:
        return response.describing
    return [*response.describing, (b"content-length", b"%d" % response.length)]


def _route_in(scope: Mapping[str, Any]) -> str:
    return route_of(path_of(scope["path"].decode("latin-1")))
