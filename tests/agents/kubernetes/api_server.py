"""An API server for tests: lists and watches of objects that a test scripts, over real HTTP, with what goes wrong.

It keeps what the real one keeps: one rising resource version, a history of events from which watches go on until it
is forgotten, pages, tokens, and bookmarks of versions that are new, also two seconds before a watch ends. After its
store was restored, watches from versions to come say nothing. `real/` holds the same against a kube-apiserver.
https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import asyncio
import copy
import json
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

Json = dict[str, Any]
PLURALS = ("pods", "deployments", "statefulsets", "horizontalpodautoscalers", "scaledobjects")


def status(code: int, reason: str, message: str) -> Json:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "code": code}  # fmt: skip


@dataclass
class Fault:
    """What happens to one request instead of a response, or after `after` events of a watch."""

    kind: str
    code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: Json = field(default_factory=dict)
    raw: bytes = b""
    after: int = 0


class ApiServer:
    """`apply` and `delete` change objects; `fault` scripts what happens to a future request for a resource."""

    def __init__(self, *, bookmark_s: float = 60.0, tls: ssl.SSLContext | None = None) -> None:
        self.bookmark_s = bookmark_s
        self.tokens: set[str] = {"good"}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.missing: set[str] = set()
        self.forbidden: set[str] = set()
        self.unwatchable: set[str] = set()
        self.gone_as_event = True
        self.port = 0
        self._tls = tls
        self._objects: dict[str, dict[str, Json]] = {plural: {} for plural in PLURALS}
        self._history: dict[str, list[tuple[int, str, Json]]] = defaultdict(list)
        self._version = 100
        self._oldest = 0
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._changed: asyncio.Condition
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._ended: asyncio.Event
        self._watching: list[web.Request] = []

    # For tests, from any thread

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def kubeconfig(self, directory: Path, **user: str) -> Path:
        """Write a kubeconfig for this server."""
        path = directory / "kubeconfig"
        path.write_text(
            json.dumps(  # which is YAML
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "c", "cluster": {"server": self.url}}],
                    "contexts": [
                        {"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "models"}}
                    ],
                    "users": [{"name": "u", "user": user or {"token": "good"}}],
                }
            )
        )
        return path

    def apply(self, plural: str, found: Json) -> None:
        """Set the object's current state."""
        self._do(lambda: self._apply(plural, found))

    def delete(self, plural: str, name: str) -> None:
        self._do(lambda: self._delete(plural, name))

    def forget_history(self) -> None:
        """Watches can no longer start from earlier versions."""
        self._do(self._forget)

    def restore(self) -> None:
        """The store is restored from a backup: versions restart below those already used."""
        self._do(self._restore)

    def fault(self, plural: str, kind: str, **options: Any) -> None:
        self._do(lambda: self._faults[plural].append(Fault(kind, **options)))

    def drop_connections(self) -> None:
        self._do(self._drop)

    @property
    def watches(self) -> int:
        """Watches that are open."""
        return len(self._watching)

    def count(self, plural: str, *, watch: bool) -> int:
        return sum(path == plural and ("watch" in query) is watch for path, query in list(self.requests))

    # In the server's thread

    def _do(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            async with self._changed:
                work()
                self._changed.notify_all()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    def _apply(self, plural: str, found: Json) -> None:
        self._version += 1
        found = copy.deepcopy(found)
        found["metadata"]["resourceVersion"] = str(self._version)
        kind = "MODIFIED" if found["metadata"]["name"] in self._objects[plural] else "ADDED"
        self._objects[plural][found["metadata"]["name"]] = found
        self._history[plural].append((self._version, kind, found))

    def _delete(self, plural: str, name: str) -> None:
        self._version += 1
        found = copy.deepcopy(self._objects[plural].pop(name))
        found["metadata"]["resourceVersion"] = str(self._version)
        self._history[plural].append((self._version, "DELETED", found))

    def _forget(self) -> None:
        self._version += 1
        self._oldest = self._version
        self._history.clear()

    def _restore(self) -> None:
        self._version = 50
        self._history.clear()
        for objects in self._objects.values():
            for found in objects.values():
                found["metadata"]["resourceVersion"] = str(self._version)
        self._drop()

    def _drop(self) -> None:
        for request in list(self._watching):
            if request.transport is not None:
                request.transport.abort()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed, self._ended = asyncio.Condition(), asyncio.Event()
        application = web.Application()
        for group in ("/api/v1", "/apis/apps/v1", "/apis/autoscaling/v2", "/apis/keda.sh/v1alpha1"):
            application.router.add_get(group + "/namespaces/models/{plural}", self._answer)
            application.router.add_get(group + "/namespaces/models/{plural}/{name}", self._answer_one)
        runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        await runner.cleanup()

    def _refusal(self, request: web.Request, plural: str) -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            return web.json_response(status(401, "Unauthorized", "Unauthorized"), status=401)
        if plural in self.missing:
            return web.Response(text="404 page not found\n", status=404)
        if plural in self.forbidden or ("watch" in request.query and plural in self.unwatchable):
            message = (
                f'{plural} is forbidden: User "system:serviceaccount:models:watcher" cannot list resource'
            )
            return web.json_response(status(403, "Forbidden", message), status=403)
        return None

    async def _answer_one(self, request: web.Request) -> web.StreamResponse:
        plural, name = request.match_info["plural"], request.match_info["name"]
        refusal = self._refusal(request, plural)
        if refusal is not None:
            return refusal
        found = self._objects[plural].get(name)
        if found is None:
            return web.json_response(status(404, "NotFound", f'{plural} "{name}" not found'), status=404)
        return web.json_response(found)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        plural, query = request.match_info["plural"], dict(request.query)
        self.requests.append((plural, query))
        refusal = self._refusal(request, plural)
        if refusal is not None:
            return refusal
        faults = self._faults[plural]
        is_watch = "watch" in query
        fault = None
        if faults and _concerns(faults[0], query):
            fault = faults.popleft()
        if fault is not None and fault.kind in {"status", "continue"}:
            if fault.raw:
                return web.Response(body=fault.raw, status=fault.code)
            body = fault.body or status(fault.code, "", f"as the test asked: {fault.code}")
            return web.json_response(body, status=fault.code, headers=fault.headers)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(0.5)
        if not is_watch:
            return self._list(plural, query)
        return await self._watch(request, plural, query, fault)

    def _list(self, plural: str, query: dict[str, str]) -> web.Response:
        found = [each for _, each in sorted(self._objects[plural].items()) if _selected(each, query)]
        begin = int(query.get("continue") or 0)
        end = begin + int(query.get("limit") or len(found) or 1)
        metadata = {"resourceVersion": str(self._version)}
        if end < len(found):
            metadata |= {"continue": str(end), "remainingItemCount": len(found) - end}
        return web.json_response(
            {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": found[begin:end]}
        )

    async def _watch(
        self, request: web.Request, plural: str, query: dict[str, str], fault: Fault | None
    ) -> web.StreamResponse:
        since = int(query["resourceVersion"])
        expired = status(410, "Expired", f"too old resource version: {since} ({self._oldest})")
        if since < self._oldest and not self.gone_as_event:
            return web.json_response(expired, status=410)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if fault is not None and fault.kind == "end":
            return response
        if since < self._oldest:
            await _say(response, "ERROR", expired)
            return response
        self._watching.append(request)
        try:
            hangs = fault is not None and fault.kind == "hang"
            async with asyncio.timeout(None if hangs else float(query["timeoutSeconds"])):
                await self._events(request, response, plural, query, since, fault)
        except TimeoutError:
            pass
        finally:
            self._watching.remove(request)
        return response

    async def _events(
        self,
        request: web.Request,
        response: web.StreamResponse,
        plural: str,
        query: dict[str, str],
        since: int,
        fault: Fault | None,
    ) -> None:
        said = 0
        seconds = float(query["timeoutSeconds"])
        last_bookmark_s = self._loop.time() + seconds - 2 if seconds > 2 else float("inf")
        while True:
            for version, kind, found in list(self._history[plural]):
                if version <= since or not _selected(found, query):
                    continue
                if (
                    fault is not None
                    and said == fault.after
                    and await _meets(fault, request, response, kind, found)
                ):
                    return
                await _say(response, kind, found)
                since, said = version, said + 1
            if fault is not None and fault.kind in {"error", "garbage", "say"} and said == fault.after:
                await _meets(fault, request, response, "", {})
                return
            async with self._changed:
                try:
                    until_last_s = max(0.0, last_bookmark_s - self._loop.time())
                    async with asyncio.timeout(min(self.bookmark_s, until_last_s)):
                        await self._changed.wait()
                except TimeoutError:
                    if self._loop.time() >= last_bookmark_s:
                        last_bookmark_s = float("inf")
                    if self._version <= since:
                        continue
                    since = self._version
                    await _say(
                        response, "BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(since)}}
                    )


def _concerns(fault: Fault, query: dict[str, str]) -> bool:
    if fault.kind == "continue":
        return "continue" in query
    return fault.kind in {"status", "slow"} or "watch" in query


async def _meets(
    fault: Fault, request: web.Request, response: web.StreamResponse, kind: str, found: Json
) -> bool:
    """Do what the fault is; return whether the watch is over."""
    if fault.kind == "cut":
        line = json.dumps({"type": kind, "object": found}).encode()
        await response.write(line[: len(line) // 2])
        await asyncio.sleep(0.05)
        request.transport.abort()
        return True
    if fault.kind == "hang":
        await asyncio.sleep(3600)
    if fault.kind == "garbage":
        await response.write(b'{"type": "MODIFIED", "object": \n')
        return True
    if fault.kind == "say":
        await _say(response, fault.body["type"], fault.body["object"])
        return True
    if fault.kind == "error":
        await _say(response, "ERROR", fault.body)
        return True
    return False


async def _say(response: web.StreamResponse, kind: str, found: Json) -> None:
    await response.write(json.dumps({"type": kind, "object": found}).encode() + b"\n")


def _selected(found: Json, query: dict[str, str]) -> bool:
    labels = found["metadata"].get("labels") or {}
    wanted = [part.partition("=") for part in query.get("labelSelector", "").split(",") if part]
    return all(labels.get(key) == value if value else key in labels for key, _, value in wanted)
