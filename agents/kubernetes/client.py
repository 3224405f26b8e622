"""The API server client: lists page by page, watches line by line. Only HTTP belongs here, not the objects' meaning.

It uses aiohttp: two kinds of GET need no generated client, whose import alone takes more memory than this agent is
allowed. Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from endpoint_analytics.agents.kubernetes.access import ClusterAccess
from endpoint_analytics.agents.kubernetes.objects import UNREADABLE, ObjectStatus

ANSWER_WITHIN_S = 30.0
CONNECT_WITHIN_S = 10.0
MAX_LINE_BYTES = 8 * 1024 * 1024
"""Longest line of a watch: an object has at most about 2 MiB."""

GONE = 410
HEADERS = {"Accept": "application/json", "User-Agent": "endpoint-analytics-agent"}


class ApiError(Exception):
    """The server's error response: its HTTP status, message, and Retry-After."""

    def __init__(self, status: int, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s


class BrokenStreamError(Exception):
    """A watch that cannot continue: it does not contain JSON lines, or has gone silent."""


class KubernetesClient:
    """Connections to one API server.

    Calls raise ApiError, AccessError, BrokenStreamError, and what aiohttp and the system raise: aiohttp.ClientError,
    OSError, TimeoutError.
    """

    def __init__(self, access: ClusterAccess) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        trusted: ssl.SSLContext | bool = self._access.ssl_context or True
        # Connections are not reused, so each one presents the current certificate.
        connector = aiohttp.TCPConnector(
            ssl=trusted, limit=0, force_close=True, socket_factory=_keepalive_socket
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN_S)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=HEADERS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, parameters: Mapping[str, str]) -> bytes:
        """Return the body of a successful response."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            response = await self._request(path, parameters)
            async with response:
                return await response.read()

    async def watch(self, path: str, parameters: Mapping[str, str], quiet_s: float) -> AsyncIterator[bytes]:
        """Yield the lines of a watch until the server ends it; one that is silent for `quiet_s` is broken."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            response = await self._request(path, parameters)
        async with response:
            rest = b""
            while True:
                try:
                    async with asyncio.timeout(quiet_s):
                        piece = await response.content.readany()
                except TimeoutError as error:
                    raise BrokenStreamError(f"no data for {quiet_s:g} s") from error
                if not piece:
                    break
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield line
                if len(rest) > MAX_LINE_BYTES:
                    raise BrokenStreamError(f"a line is longer than {MAX_LINE_BYTES} bytes")
            if rest.strip():
                raise BrokenStreamError("it ended in the middle of a line")

    async def _request(self, path: str, parameters: Mapping[str, str]) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the client is not open")
        token = await self._access.token.read()
        headers = [*self._access.headers, *([("Authorization", f"Bearer {token}")] if token else [])]
        try:
            response = await self._session.get(
                f"{self._access.server}{path}",
                params=parameters,
                headers=headers,
                allow_redirects=False,
                proxy=self._access.proxy,
                server_hostname=self._access.server_name,
            )
        except aiohttp.ClientConnectorCertificateError:
            self._access.reload_authority()
            raise
        if response.status == 200:
            return response
        async with response:
            message = _message_of(await response.read(), response.reason or "")
        if response.status == 401:
            self._access.refused()
        raise ApiError(response.status, message, retry_after_s(response.headers.get("Retry-After")))


def retry_after_s(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds in a Retry-After header, which is a number or a date; None without one."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)  # the zone -0000 parses as naive
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())


def _message_of(body: bytes, otherwise: str) -> str:
    try:
        return msgspec.json.decode(body, type=ObjectStatus).message or otherwise
    except UNREADABLE:
        return otherwise


def _keepalive_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket with TCP keep-alive: a watch may be silent for minutes."""
    family, kind, protocol, *_ = address
    opened = socket.socket(family=family, type=kind, proto=protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return opened
