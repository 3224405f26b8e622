"""Serializes the heads that the proxy sends to either side. Pure.

Fields arrive here without the hop-by-hop ones (`fields` removes them); all are forwarded unchanged and in order,
including request ids and trace context.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from endpoint_analytics.agents.proxy.framing import BodyFraming, ChunkedBody, LengthBody, UntilClose
from endpoint_analytics.agents.proxy.head import RequestHead, ResponseHead

Forwarded = Literal["append", "set", "keep"]
_BODYLESS = frozenset({204, 304})


def request_bytes(head: RequestHead, client: bytes, forwarded: Forwarded) -> bytes:
    """Return the request head for the upstream; `client` is the client's address."""
    lines = [b"%s %s HTTP/1.%d" % (head.method, head.target, head.minor_version)]
    if head.host:
        lines.append(b"Host: " + head.host)
    lines += head.lines
    lines += forwarded_lines(head, client, forwarded)
    if head.takes_trailers:
        lines.append(b"TE: trailers")
    if head.upgrade:
        lines += [b"Connection: Upgrade", b"Upgrade: " + head.upgrade]
    elif not head.minor_version:
        lines.append(b"Connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def forwarded_lines(head: RequestHead, client: bytes, forwarded: Forwarded) -> list[bytes]:
    """Return X-Forwarded-For, -Proto and -Host: appended to the client's, replacing them, or the client's unchanged."""
    received = head.forwarded if forwarded != "set" else {}
    if forwarded == "keep":
        return [b"%s: %s" % (name, value) for name, values in received.items() for value in values]
    before = received.get(b"x-forwarded-for", [])
    return [
        b"X-Forwarded-For: " + b", ".join([*before, client]),
        b"X-Forwarded-Proto: " + received.get(b"x-forwarded-proto", [b"http"])[-1],
        b"X-Forwarded-Host: " + received.get(b"x-forwarded-host", [head.host])[-1],
    ]


def response_bytes(head: ResponseHead, *, closes: bool) -> bytes:
    """Return the response head for the client; `closes` says whether the connection closes after it."""
    lines = [b"HTTP/1.1 %d %s" % (head.status, head.reason), *head.lines]
    if head.status == HTTPStatus.SWITCHING_PROTOCOLS:
        lines += [b"Connection: Upgrade", b"Upgrade: " + head.upgrade]
    elif closes:
        lines.append(b"Connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def refusal_bytes(status: int, reason: str, *, closes: bool, is_head: bool = False) -> bytes:
    """Return the proxy's own complete response, in plain text."""
    body = f"{status} {HTTPStatus(status).phrase}: {reason}\n".encode()
    lines = [
        b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()),
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(body),
    ]
    if closes:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", b"" if is_head else body])


def request_body(head: RequestHead) -> BodyFraming | None:
    """Return the framing of the request's body; None without a body."""
    if head.is_chunked:
        return ChunkedBody()
    return LengthBody(head.length) if head.length else None


def response_body(head: ResponseHead, method: bytes) -> BodyFraming | None:
    """Return the framing of a final response's body for `method` (RFC 9112, section 6.3); None without a body."""
    if method == b"HEAD" or head.status in _BODYLESS:
        return None
    if head.is_chunked:
        return ChunkedBody()
    if head.length is None:
        return UntilClose()
    return LengthBody(head.length) if head.length else None
