"""The API's handlers: from a request to an answer, through one cache. Decisions are made elsewhere.

Live updates are polled with `since`, not pushed. A poll of the newest step costs two small queries, shared by all
clients that watch the same endpoint, and returns 304 when nothing changed. Polling works through every proxy, needs no
open connection per tab, and after a lost connection simply continues from where it was. Server-sent events would have
to run the same queries at the same rate for each view.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from endpoint_analytics.pipeline.serve.api import external_metrics, sign_in
from endpoint_analytics.pipeline.serve.api.authorization import ApiAccess
from endpoint_analytics.pipeline.serve.api.discovery import is_address, target_groups
from endpoint_analytics.pipeline.serve.api.endpoint_answers import EndpointAnswers
from endpoint_analytics.pipeline.serve.api.external_models import GROUP_VERSION
from endpoint_analytics.pipeline.serve.api.json_responses import (
    ReplyBody,
    failure,
    plain_reply,
    reply,
    status_failure,
)
from endpoint_analytics.pipeline.serve.api.models import PARTS, Namespaces, Part, encode
from endpoint_analytics.pipeline.serve.api.openapi import openapi_document
from endpoint_analytics.pipeline.serve.api.overview import Overview
from endpoint_analytics.pipeline.serve.api.query import QueryError, parse_parameters, parse_query
from endpoint_analytics.pipeline.serve.api.signals import Signals, autoscaling_shape
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.scope import Scope
from endpoint_analytics.pipeline.store.series_overview import read_namespaces
from endpoint_analytics.pipeline.store.shared_cache import SharedCache
from endpoint_analytics.pipeline.store.tokens import ALL_NAMESPACES
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name

Handler = Callable[[Request], Awaitable[Response]]
ANSWER_WITHIN_S = 10.0
"""Time limit for one answer with all its queries, including their time in the queue."""
_ABSENT = ReplyBody(b"")
"""The cache entry for an endpoint that does not exist."""
_NO_ANSWER = QueryError(
    "ClickHouse cannot be queried right now",
    "ClickHouse",
    "try again; if this persists, request a shorter range, and check /ready and the service's log",
    503,
)


@dataclass(frozen=True, slots=True)
class Api:
    """The handlers and their dependencies; `cache` briefly keeps answers for identical requests."""

    reader: Reader
    access: ApiAccess
    figures: EndpointAnswers
    overview: Overview
    signals: Signals
    cache: SharedCache[Hashable, ReplyBody]
    version: str

    def routes(self) -> dict[str, dict[str, Handler]]:
        """Return the handlers by path and method; GET also answers HEAD."""
        one = "/v2/endpoint/{namespace}/{name}"
        found: dict[str, dict[str, Handler]] = {
            "/openapi.json": {"GET": self._guarded(self._openapi)},
            "/v2/namespaces": {"GET": self._guarded(self._namespaces)},
            "/v2/endpoint/{namespace}": {"GET": self._guarded(self._endpoints)},
            "/v2/endpoint/{namespace}/http-sd": {"GET": self._guarded(self._discovery)},
            "/v2/http-sd": {"GET": self._guarded(self._discovery)},
            f"{one}/series": {"GET": self._guarded(partial(self._answer, part=None))},
            f"{one}/autoscaling": {"GET": self._guarded(self._autoscaling)},
        }
        found |= {f"{one}/{part}": {"GET": self._guarded(partial(self._answer, part=part))} for part in PARTS}
        found |= self._external_metrics()
        found["/session"] = {
            "GET": self._guarded(partial(sign_in.get_session, access=self.access)),
            "POST": self._guarded(partial(sign_in.create_session, access=self.access)),
            "DELETE": self._guarded(partial(sign_in.end_session, access=self.access)),
        }
        return found

    def _external_metrics(self) -> dict[str, dict[str, Handler]]:
        list_path = f"/apis/{GROUP_VERSION}"
        valued = partial(external_metrics.values, access=self.access, signals=self.signals)
        guarded = self._guarded(valued, status_failure, external_metrics.ANSWER_WITHIN_S)
        return {
            list_path: {"GET": external_metrics.resources},
            f"{list_path}/namespaces/{{namespace}}/{{metric}}": {"GET": guarded},
        }

    def _guarded(
        self,
        handle: Handler,
        fail: Callable[[QueryError], Response] = failure,
        within_s: float = ANSWER_WITHIN_S,
    ) -> Handler:
        """Return the handler with a time limit and with its errors as JSON."""

        async def guarded(request: Request) -> Response:
            try:
                async with asyncio.timeout(within_s):
                    return await handle(request)
            except QueryError as error:
                return fail(error)
            except (StoreError, TimeoutError):
                return fail(_NO_ANSWER)

        return guarded

    async def _answer(self, request: Request, part: Part | None) -> Response:
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        await self.access.opened(request, namespace)
        _check_names(namespace, name)
        query = parse_query(namespace, name, request.query_params.multi_items(), part)

        async def read() -> ReplyBody:
            answer = await self.figures.answer(query)
            return _ABSENT if answer is None else ReplyBody(encode(answer))

        body = await self._cached(query, read)
        if body is _ABSENT:
            raise QueryError(
                f"there is no endpoint {name!r} in namespace {namespace!r}",
                "path",
                "no agent or event has ever reported it: GET /v2/endpoint/{namespace} lists the known endpoints",
                404,
            )
        return reply(request, body)

    async def _endpoints(self, request: Request) -> Response:
        namespace = request.path_params["namespace"]
        await self.access.opened(request, namespace)
        _check_names(namespace, "any")
        parse_parameters(request.query_params.multi_items(), ())

        async def read() -> ReplyBody:
            return ReplyBody(encode(await self.overview.endpoints(namespace)))

        return reply(request, await self._cached(("endpoints", namespace), read))

    async def _discovery(self, request: Request) -> Response:
        """Answer with the endpoints of the namespace, or all that the token opens, as targets for Prometheus."""
        if "namespace" in request.path_params:
            namespace = request.path_params["namespace"]
            await self.access.opened(request, namespace)
            _check_names(namespace, "any")
        else:
            token = await self.access.token(request)
            namespace = "" if token.namespace == ALL_NAMESPACES else token.namespace
        parse_parameters(request.query_params.multi_items(), ())
        address = request.headers.get("host", "")
        if not is_address(address):
            raise QueryError(
                f"{address[:100]!r} is not the address of a target",
                "header Host",
                "request this path by the host and port that Prometheus shall scrape",
            )

        async def read() -> ReplyBody:
            endpoints = await self.overview.listed(Scope(namespace))
            return ReplyBody(msgspec.json.encode(target_groups(endpoints, address)))

        return reply(request, await self._cached(("discovery", namespace, address), read))

    async def _autoscaling(self, request: Request) -> Response:
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        await self.access.opened(request, namespace)
        _check_names(namespace, name)
        parse_parameters(request.query_params.multi_items(), ())
        return plain_reply(autoscaling_shape(await self.signals.current(namespace, name)))

    async def _namespaces(self, request: Request) -> Response:
        token = await self.access.token(request)
        parse_parameters(request.query_params.multi_items(), ())

        async def read() -> ReplyBody:
            known = await read_namespaces(self.reader)
            return ReplyBody(encode(Namespaces([each for each in known if token.opens(each)])))

        return reply(request, await self._cached(("namespaces", token.namespace), read))

    async def _openapi(self, request: Request) -> Response:
        return reply(request, ReplyBody(msgspec.json.encode(openapi_document(self.version))))

    async def _cached(self, key: Hashable, read: Callable[[], Awaitable[ReplyBody]]) -> ReplyBody:
        body, _ = await self.cache.get(key, read)
        return body


def _check_names(namespace: str, name: str) -> None:
    try:
        check_name("namespace", namespace)
        check_name("endpoint", name)
    except InvalidMessageError as error:
        raise QueryError(error.detail, "path", "use the names that the agents report", 404) from error
