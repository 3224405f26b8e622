"""Lists a resource, then watches it, forever: the sink gets the current objects, through every kind of failure.

A list has a version, and the watch continues from there; events and bookmarks advance the version. So nothing is missed
after a lost connection, and only a version that the server has forgotten (410 Gone) requires a new list. If a server's
store is restored, its versions restart below ours, and it sends nothing until they have caught up: so a watch that
ended without any event or bookmark, or a lower version, also leads to a new list.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import aiohttp
import msgspec

from endpoint_analytics.agents.kubernetes.backoff import Backoff
from endpoint_analytics.agents.kubernetes.client import GONE, ApiError, BrokenStreamError, KubernetesClient
from endpoint_analytics.agents.kubernetes.lasting_refusal import LastingRefusal
from endpoint_analytics.agents.kubernetes.objects import UNREADABLE, ObjectStatus, Page, Versioned, WatchEvent
from endpoint_analytics.agents.kubernetes.tokens import AccessError

logger = logging.getLogger("endpoint_analytics")

Object = TypeVar("Object")

PAGE = 250
"""Objects per page of a list."""

MAX_OBJECTS = 10_000
"""Most objects of one resource: any others are ignored until one of these is gone."""

QUIET_GRACE_S = 10.0
SHORT_WATCH_S = 1.0
"""A shorter watch without any event counts as a failure, so that it is not restarted at once."""

FAILURES = (aiohttp.ClientError, OSError, TimeoutError, BrokenStreamError, AccessError)

_page = msgspec.json.Decoder(Page)
_event = msgspec.json.Decoder(WatchEvent)
_versioned = msgspec.json.Decoder(Versioned)
_status = msgspec.json.Decoder(ObjectStatus)


@dataclass(frozen=True, slots=True)
class Sink(Generic[Object]):
    """Receives objects. `listed`: the complete list. `changed`: a new or changed object. `removed`: the last state of a
    deleted object. `settled`: the initial objects are known, or listing is not possible."""

    listed: Callable[[list[Object]], None]
    changed: Callable[[Object], None]
    removed: Callable[[Object], None]
    settled: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Resource(Generic[Object]):
    """A resource to watch. `needed`: nothing works without it; others may be forbidden or not installed."""

    name: str
    path: str
    kind: type[Object]
    needed: bool = False
    selector: str = ""


class Watching(Generic[Object]):
    """Lists and watches one resource; asks the server to end each watch after about `watch_s` seconds."""

    def __init__(
        self, client: KubernetesClient, resource: Resource[Object], sink: Sink[Object], watch_s: float
    ) -> None:
        self._client = client
        self._resource = resource
        self._sink = sink
        self._watch_s = watch_s
        self._decoder: msgspec.json.Decoder[Object] = msgspec.json.Decoder(resource.kind)
        self._version = ""
        self._pace = Backoff()
        self._refusal = LastingRefusal()
        self._known: set[str] = set()
        self._complaint = ""
        self._unreadable = 0
        self._said_full = False

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except ApiError as error:
                await asyncio.sleep(self._after(error))
            except FAILURES as error:
                self._complain(f"{type(error).__name__}: {error}")
                await asyncio.sleep(self._pace.wait_s())

    async def _list(self) -> None:
        found: dict[str, Object] = {}
        capacity = MAX_OBJECTS - len(self._known)
        parameters = {"limit": str(PAGE), **self._selected()}
        while True:
            try:
                page = _page.decode(await self._client.get(self._resource.path, parameters))
                for raw in page.items or ():
                    uid = _versioned.decode(raw).metadata.uid
                    capacity -= uid not in self._known
                    is_ours = uid in self._known or self._has_capacity(capacity >= 0)
                    if is_ours and (read := self._read(raw)) is not None:
                        found[uid] = read
            except UNREADABLE as error:
                raise BrokenStreamError(f"cannot read the list: {error}") from error
            if not page.metadata.next:
                break
            parameters["continue"] = page.metadata.next
        self._refusal.listed()
        self._known = set(found)
        self._sink.listed(list(found.values()))
        self._sink.settled()
        self._version = page.metadata.resource_version

    async def _watch(self) -> None:
        watch_s = self._watch_s * random.uniform(0.8, 1.0)  # noqa: S311  # so that they do not all end at once
        parameters = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, round(watch_s))),
            **self._selected(),
        }
        started_s = time.monotonic()
        has_events = False
        async for line in self._client.watch(self._resource.path, parameters, watch_s + QUIET_GRACE_S):
            self._take(line)
            has_events = True
            self._recovered()
        if not has_events:
            if time.monotonic() - started_s < SHORT_WATCH_S:
                raise BrokenStreamError("it ended at once")
            self._version = ""
        self._recovered()

    def _take(self, line: bytes) -> None:
        try:
            event = _event.decode(line)
            if event.type == "ERROR":
                status = _status.decode(event.object)
                raise ApiError(status.code, status.message or status.reason)
            metadata = _versioned.decode(event.object).metadata
        except UNREADABLE as error:
            self._version = ""  # its content is unknown
            raise BrokenStreamError(f"cannot read a line: {error}") from error
        if _is_lower(metadata.resource_version, self._version):
            raise ApiError(GONE, f"its versions went back to {metadata.resource_version}")
        if event.type == "DELETED":
            if metadata.uid in self._known and (read := self._read(event.object)) is not None:
                self._sink.removed(read)
            self._known.discard(metadata.uid)
        elif event.type != "BOOKMARK":
            is_ours = metadata.uid in self._known or self._has_capacity(len(self._known) < MAX_OBJECTS)
            if is_ours and (read := self._read(event.object)) is not None:
                self._known.add(metadata.uid)
                self._sink.changed(read)
        self._version = metadata.resource_version

    def _has_capacity(self, has: bool) -> bool:
        if not has and not self._said_full:
            self._said_full = True
            logger.warning(
                "there are more than %d %s: the others are ignored", MAX_OBJECTS, self._resource.name
            )
        return has

    def _read(self, raw: msgspec.Raw) -> Object | None:
        """Return the object; None, counted and logged once, if it cannot be decoded."""
        try:
            return self._decoder.decode(raw)
        except UNREADABLE as error:
            self._unreadable += 1
            if self._unreadable == 1:
                logger.warning(
                    "one of the %s cannot be read, and is left out: %s", self._resource.name, error
                )
            return None

    def _after(self, error: ApiError) -> float:
        """Return how long to wait after the error."""
        if error.status == GONE:
            logger.info("%s: the server has forgotten version %s (%s): listing again",
                        self._resource.name, self._version, error.message)  # fmt: skip
            self._version = ""
            return self._pace.wait_s()
        if error.status in {403, 404}:
            self._version = ""  # if it can be listed but not watched, list it again
            if not self._resource.needed:
                self._is_refused(error)
                return self._refusal.wait_s()
        self._complain(str(error))
        return self._pace.wait_s(error.retry_after_s)

    def _is_refused(self, error: ApiError) -> None:
        """Handle a resource that is not installed or forbidden: accept that once it lasts, or if it never worked."""
        has_lasted = self._refusal.has_lasted(time.monotonic())
        what = "they may not be read; known ones are kept"
        if error.status == 404 and (has_lasted or not self._refusal.worked):
            what = "they are not installed"
            self._known.clear()
            self._sink.listed([])
            has_lasted = True
        self._complain(f"{what} ({error.message})", logging.INFO)
        if has_lasted:
            self._sink.settled()

    def _complain(self, what: str, level: int = logging.WARNING) -> None:
        """Log a problem, once until it is resolved."""
        if what != self._complaint:
            self._complaint = what
            logger.log(level, "watching %s: %s", self._resource.name, what)

    def _recovered(self) -> None:
        self._pace.succeeded()
        self._refusal.watched()
        if self._complaint:
            self._complaint = ""
            logger.info("watching %s again", self._resource.name)

    def _selected(self) -> dict[str, str]:
        return {"labelSelector": self._resource.selector} if self._resource.selector else {}


def _is_lower(version: str, than: str) -> bool:
    """Return whether a version is lower than another; only numbers can be compared."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)
