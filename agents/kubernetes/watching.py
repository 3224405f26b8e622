"""Lists a resource, then watches it, for ever: what is there reaches the sink, through every kind of failure.

A list says as of which version it is, and the watch goes on from there; events and bookmarks move the version on. So
after a lost connection nothing is missed, and only a version that the server has forgotten (410 Gone) needs a new
list. Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
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

from endpoint_analytics.agents.kubernetes.client import GONE, ApiError, BrokenStreamError, Client
from endpoint_analytics.agents.kubernetes.objects import UNREADABLE, Page, Status, Versioned, WatchEvent
from endpoint_analytics.agents.kubernetes.pace import Pace
from endpoint_analytics.agents.kubernetes.tokens import AccessError

logger = logging.getLogger("endpoint_analytics")

Object = TypeVar("Object")

PAGE = 250
"""Objects of a list that are asked for at once."""

MAX_OBJECTS = 10_000
"""Of one resource: what a list holds beyond is left out."""

QUIET_GRACE_S = 10.0
SHORT_WATCH_S = 1.0
"""A watch that ends sooner and said nothing counts as a failure, so that it is not begun again at once."""

MISSING_AGAIN_S = 300.0
FAILURES = (aiohttp.ClientError, OSError, TimeoutError, BrokenStreamError, AccessError)

_page = msgspec.json.Decoder(Page)
_event = msgspec.json.Decoder(WatchEvent)
_versioned = msgspec.json.Decoder(Versioned)
_status = msgspec.json.Decoder(Status)


@dataclass(frozen=True, slots=True)
class Sink(Generic[Object]):
    """Where objects go. `listed`: these are all. `changed`: one is new or as it is now. `removed`: one is gone, as
    last seen. `settled`: it is known whether there are any, since they were listed or may not be."""

    listed: Callable[[list[Object]], None]
    changed: Callable[[Object], None]
    removed: Callable[[Object], None]
    settled: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Resource(Generic[Object]):
    """What is watched. `needed`: without it nothing works; others may be forbidden or not installed."""

    name: str
    path: str
    kind: type[Object]
    needed: bool = False
    selector: str = ""


class Watching(Generic[Object]):
    """One resource's list and watch; the server is asked to end a watch after about `watch_s` seconds."""

    def __init__(
        self, client: Client, resource: Resource[Object], sink: Sink[Object], watch_s: float
    ) -> None:
        self._client = client
        self._resource = resource
        self._sink = sink
        self._watch_s = watch_s
        self._decoder: msgspec.json.Decoder[Object] = msgspec.json.Decoder(resource.kind)
        self._version = ""
        self._pace = Pace()
        self._complaint = ""
        self._unreadable = 0

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
        found: list[Object] = []
        parameters = {"limit": str(PAGE), **self._selected()}
        while True:
            try:
                page = _page.decode(await self._client.get(self._resource.path, parameters))
            except UNREADABLE as error:
                raise BrokenStreamError(f"the list cannot be read: {error}") from error
            found += [read for each in page.items or () if (read := self._read(each)) is not None]
            if not page.metadata.next or len(found) >= MAX_OBJECTS:
                break
            parameters["continue"] = page.metadata.next
        if len(found) > MAX_OBJECTS or page.metadata.next:
            logger.warning(
                "there are more than %d %s: the others are left out", MAX_OBJECTS, self._resource.name
            )
        self._sink.listed(found[:MAX_OBJECTS])
        self._sink.settled()
        self._version = page.metadata.resource_version

    async def _watch(self) -> None:
        watch_s = self._watch_s * random.uniform(0.8, 1.0)  # noqa: S311  # so that not all end at once
        parameters = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, round(watch_s))),
            **self._selected(),
        }
        began_s = time.monotonic()
        said = False
        async for line in self._client.watch(self._resource.path, parameters, watch_s + QUIET_GRACE_S):
            self._take(line)
            said = True
            self._recovered()
        if not said and time.monotonic() - began_s < SHORT_WATCH_S:
            raise BrokenStreamError("it ended at once")
        self._recovered()

    def _take(self, line: bytes) -> None:
        try:
            event = _event.decode(line)
            if event.type == "ERROR":
                status = _status.decode(event.object)
                raise ApiError(status.code, status.message or status.reason)
            version = _versioned.decode(event.object).metadata.resource_version
        except UNREADABLE as error:
            self._version = ""  # nobody knows what was in it
            raise BrokenStreamError(f"a line cannot be read: {error}") from error
        if event.type != "BOOKMARK" and (read := self._read(event.object)) is not None:
            (self._sink.removed if event.type == "DELETED" else self._sink.changed)(read)
        self._version = version

    def _read(self, raw: msgspec.Raw) -> Object | None:
        """Return the object; None, counted and said once, for one of a shape that we do not know."""
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
            logger.info(
                "%s: the server has forgotten version %s: listing again", self._resource.name, self._version
            )
            self._version = ""
            return self._pace.wait_s()
        if error.status in {403, 404}:
            self._version = ""  # what may be listed, and not watched, is listed again
            if not self._resource.needed:
                self._is_missing(error)
                return MISSING_AGAIN_S
        self._complain(str(error))
        return self._pace.wait_s(error.retry_after_s)

    def _is_missing(self, error: ApiError) -> None:
        if error.status == 404:
            self._complain(f"they are not installed ({error.message})", logging.INFO)
            self._sink.listed([])
        else:
            self._complain(
                f"they may not be read; what is known of them stays ({error.message})", logging.INFO
            )
        self._sink.settled()

    def _complain(self, what: str, level: int = logging.WARNING) -> None:
        """Say what is wrong, once until it is well again."""
        if what != self._complaint:
            self._complaint = what
            logger.log(level, "watching %s: %s", self._resource.name, what)

    def _recovered(self) -> None:
        self._pace.succeeded()
        if self._complaint:
            self._complaint = ""
            logger.info("watching %s goes on", self._resource.name)

    def _selected(self) -> dict[str, str]:
        return {"labelSelector": self._resource.selector} if self._resource.selector else {}
