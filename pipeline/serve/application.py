"""The handlers for scrapes, health and the service's own metrics. Decisions are made elsewhere and combined here."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from endpoint_analytics.pipeline.exposition.accept import accepts_gzip, choose_format
from endpoint_analytics.pipeline.serve.access.bearer import NOT_BEARER, read_bearer
from endpoint_analytics.pipeline.serve.access.token_cache import TokenCache
from endpoint_analytics.pipeline.serve.health import Health
from endpoint_analytics.pipeline.serve.http import responses
from endpoint_analytics.pipeline.serve.http.field_lists import joined
from endpoint_analytics.pipeline.serve.scrape.read_ahead import ReadAhead, Visitor
from endpoint_analytics.pipeline.serve.scrape.scrapes import GZIP_FROM_BYTES, TooManyScrapesError, compress
from endpoint_analytics.pipeline.serve.scrape.selection import SelectionError, parse_selection
from endpoint_analytics.pipeline.serve.scrape.self_metrics import SelfMetrics
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.scope import EVERYTHING, Scope
from endpoint_analytics.pipeline.store.tokens import ALL_NAMESPACES, AccessToken
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
# Only the log and local clients see where ClickHouse runs and why it fails.
_NO_ANSWER = (
    "ClickHouse cannot be queried right now: try again later; /ready and the service's log give the reason"
)
_VARY = {"Vary": "Accept, Accept-Encoding, Authorization"}


@dataclass(frozen=True, slots=True)
class Service:
    """The handlers and their dependencies."""

    scrapes: ReadAhead
    tokens: TokenCache
    health: Health
    metrics: SelfMetrics
    clock: Callable[[], float]

    async def open_metrics(self, request: Request) -> Response:
        """Answer GET /v2/endpoint/{namespace}/{name}/open-metrics."""
        scope = Scope(request.path_params["namespace"], request.path_params["name"])
        return await self._scrape(request, scope)

    async def namespace_open_metrics(self, request: Request) -> Response:
        """Answer GET /v2/endpoint/{namespace}/open-metrics: all endpoints of a namespace."""
        return await self._scrape(request, Scope(request.path_params["namespace"]))

    async def all_open_metrics(self, request: Request) -> Response:
        """Answer GET /v2/open-metrics: all endpoints that the token grants access to."""
        return await self._scrape(request, EVERYTHING)

    async def _scrape(self, request: Request, scope: Scope) -> Response:
        try:
            token = await self._opened(request, scope.namespace)
            if isinstance(token, Response):
                return token
            if not scope.namespace and token.namespace != ALL_NAMESPACES:
                scope = Scope(token.namespace)
            for what, name in (("namespace", scope.namespace), ("endpoint", scope.endpoint)):
                if name:
                    check_name(what, name)
            selection = parse_selection(request.query_params.multi_items(), of_one=bool(scope.endpoint))
            form = choose_format(joined(request.headers, "accept"))
            gzip_accepted = accepts_gzip(joined(request.headers, "accept-encoding"))
            address = "" if request.client is None else request.client.host
            answer, outcome = await self.scrapes.answer(
                Visitor(address, scope, selection, form, gzip_accepted)
            )
        except InvalidMessageError as error:
            return responses.text(404, f"no such endpoint: {error.detail}", _VARY)
        except SelectionError as error:
            return responses.text(400, str(error), _VARY)
        except TooManyScrapesError:
            return responses.unavailable(
                "too many different scrapes of this namespace at once: try again later"
            )
        except StoreError:
            return responses.unavailable(_NO_ANSWER)
        self.metrics.lookups[outcome] += 1
        if answer is None:
            what = f"endpoint {scope.endpoint!r}" if scope.endpoint else "endpoint"
            named = "" if selection.endpoints is None else f" named {', '.join(sorted(selection.endpoints))}"
            where = f" in namespace {scope.namespace!r}" if scope.namespace else ""
            why = (
                "no agent or event has ever reported it"
                if scope.endpoint
                else "nothing was heard of any for a week"
            )
            return responses.text(404, f"no {what}{named}{where}: {why}", _VARY)
        headers = {**_VARY, "Content-Encoding": "gzip"} if answer.is_compressed else _VARY
        return responses.answer(200, answer.body, form.content_type, headers)

    async def alive(self, _request: Request) -> Response:
        """Answer GET /health: the process is running."""
        return responses.text(200, "ok")

    async def ready(self, request: Request) -> Response:
        """Answer GET /ready: ClickHouse responds and has the expected tables. Local clients see the reason if not."""
        reason = await self.health.not_ready()
        if reason is None:
            return responses.text(200, "ready")
        return responses.unavailable(reason if _is_local(request) else _NO_ANSWER)

    async def own_metrics(self, request: Request) -> Response:
        """Answer GET /metrics: open to local clients; others need a token for all namespaces."""
        try:
            if not _is_local(request):
                token = await self._opened(request, ALL_NAMESPACES)
                if isinstance(token, Response):
                    return token
        except StoreError:
            return responses.unavailable(_NO_ANSWER)
        newest_s = await self.health.newest_data_s()
        paused = await self.health.paused_partitions()
        families = self.metrics.families(len(self.scrapes), len(self.tokens), newest_s, paused)
        form = choose_format(joined(request.headers, "accept"))
        body = form.render(families)
        if accepts_gzip(joined(request.headers, "accept-encoding")) and len(body) >= GZIP_FROM_BYTES:
            return responses.answer(
                200, compress(body), form.content_type, {**_VARY, "Content-Encoding": "gzip"}
            )
        return responses.answer(200, body, form.content_type, _VARY)

    async def _opened(self, request: Request, namespace: str) -> AccessToken | Response:
        """Return the request's token if it grants access to the namespace (or none is given), else a 401 or 403.

        Raises StoreError.
        """
        presented = read_bearer(request.headers)
        if presented is None:
            return responses.unauthorized("send 'Authorization: Bearer <token>'", presented=False)
        if not presented:
            return responses.unauthorized(
                f"{NOT_BEARER}: send 'Authorization: Bearer <token>'", presented=True
            )
        token: AccessToken | None = await self.tokens.check(presented)
        if token is None:
            return responses.unauthorized("this token is unknown or revoked", presented=True)
        if namespace and not token.opens(namespace):
            return responses.text(403, "this token is for another namespace")
        return token


def _is_local(request: Request) -> bool:
    """Whether the request comes from this machine and was not forwarded by a proxy."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
