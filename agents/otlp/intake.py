"""Turns an export request into requests by replica: each span once, each rejection counted with its reason.

Pure, but remembers recent spans: `now_us` is an argument.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from msgspec.structs import replace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from endpoint_analytics.agents.core.exclusion import is_excluded, path_of
from endpoint_analytics.agents.log.batching import OLDEST_US
from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.otlp.identity import ATTRIBUTES, Fixed, Identity, identify
from endpoint_analytics.agents.otlp.sampling import sampled_share
from endpoint_analytics.agents.otlp.seen import Recent
from endpoint_analytics.agents.otlp.spans import SERVER, read_request, read_response_start, texts_of

logger = logging.getLogger("endpoint_analytics")

MAX_RESPONSE_STARTS = 100_000
"""Response starts that wait for their server span, which another export may bring."""
MAX_WARNED = 1_000


@dataclass(slots=True)
class Received:
    """What one export request brought: new requests by replica, and the counts of all other spans.

    `dropped` has the rejections of replicas that are known, by reason; they are in `rejected` too. `ignored` spans are
    not requests: of another kind, not about HTTP, or for an excluded path.
    """

    requests: dict[Identity, list[Logged]] = field(default_factory=dict)
    dropped: dict[Identity, Counter[str]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    repeated: int = 0
    ignored: int = 0
    sampled: int = 0


class Intake:
    """Reads export requests one after the other. `remember`: how many spans are recognized when they come again."""

    def __init__(
        self, fixed: Fixed, remember: int, exclude_paths: Collection[str] = (), max_replicas: int = 10_000
    ) -> None:
        self._fixed = fixed
        self._seen: Recent[None] = Recent(remember)
        self._response_starts: Recent[int] = Recent(MAX_RESPONSE_STARTS)
        self._excluded = frozenset(exclude_paths)
        self._max_replicas = max_replicas
        self._replicas: set[Identity] = set()
        self._warned: set[tuple[str, str]] = set()

    def forget(self, replica: Identity) -> None:
        """The replica is gone: it counts no more among those that the receiver may know."""
        self._replicas.discard(replica)

    def read(self, request: ExportTraceServiceRequest, now_us: int) -> Received:
        """Return what the export request brings; its spans are then remembered."""
        received = Received()
        for resource in request.resource_spans:
            attributes = {
                name: str(text) for name, text in texts_of(resource.resource.attributes, ATTRIBUTES).items()
            }
            replica = identify(attributes, self._fixed)
            owner = _owner(replica)
            self._read_response_starts(resource, owner)
            self._read_resource(resource, replica, owner, received, now_us)
        return received

    def _read_response_starts(self, resource: ResourceSpans, owner: bytes) -> None:
        for scope in resource.scope_spans:
            for span in scope.spans:
                if span.kind != SERVER and (started_ns := read_response_start(span)) is not None:
                    self._response_starts.put(owner + span.trace_id + span.parent_span_id, started_ns)

    def _read_resource(
        self,
        resource: ResourceSpans,
        replica: Identity | str,
        owner: bytes,
        received: Received,
        now_us: int,
    ) -> None:
        is_new = isinstance(replica, Identity) and replica not in self._replicas
        if is_new and len(self._replicas) >= self._max_replicas:
            replica = "too_many_replicas"
        requests: list[Logged] = []
        for scope in resource.scope_spans:
            for span in scope.spans:
                if span.kind != SERVER:
                    received.ignored += 1
                    continue
                found = self._read_span(span, replica, owner, received, now_us)
                if isinstance(found, Logged):
                    requests.append(found)
        if isinstance(replica, Identity) and requests:
            self._replicas.add(replica)
            received.requests.setdefault(replica, []).extend(requests)

    def _read_span(
        self, span: Span, replica: Identity | str, owner: bytes, received: Received, now_us: int
    ) -> Logged | None:
        key = owner + span.trace_id + span.span_id
        if isinstance(replica, str):
            if read_request(span, None) is None:
                received.ignored += 1
            else:
                received.rejected[replica] += 1
            return None
        if key in self._seen:
            received.repeated += 1
            return None
        request = read_request(span, self._response_starts.pop(key))
        if request is None or self._is_excluded(request):
            received.ignored += 1
            return None
        reason = _fault(span, request, now_us)
        if reason:
            received.rejected[reason] += 1
            received.dropped.setdefault(replica, Counter())[reason] += 1
            return None
        self._seen.put(key, None)
        received.accepted += 1
        self._note_sampling(span, replica, received)
        return replace(request, target=None)  # it was only needed here, and may be long

    def _is_excluded(self, request: Logged) -> bool:
        return bool(
            self._excluded and request.target and is_excluded(path_of(request.target), self._excluded)
        )

    def _note_sampling(self, span: Span, replica: Identity, received: Received) -> None:
        share = sampled_share(span.trace_state)
        if share is None or share >= 1:
            return
        received.sampled += 1
        endpoint: tuple[str, str] = replica[:2]
        if endpoint not in self._warned and len(self._warned) < MAX_WARNED:
            self._warned.add(endpoint)
            logger.warning(
                "%s/%s: its traces are sampled (ot=th in tracestate: %.3g %% are kept), so only those are counted: "
                "export all server spans",
                *endpoint,
                share * 100,
            )


def _owner(replica: Identity | str) -> bytes:
    """Return what distinguishes the ids of a replica's spans: another sender may use the same ones, on purpose, too."""
    return (
        blake2b("\0".join(replica).encode(), digest_size=8).digest() if isinstance(replica, Identity) else b""
    )


def _fault(span: Span, request: Logged, now_us: int) -> str:
    """Return why the span cannot be counted, "" if it can."""
    if len(span.trace_id) != 16 or len(span.span_id) != 8:
        return "no_ids"
    if not span.end_time_unix_nano:
        return "no_end"
    end_us: Any = request.end_us
    return "too_old" if end_us < now_us - OLDEST_US else ""
