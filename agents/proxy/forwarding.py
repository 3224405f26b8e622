"""What a proxy says to the other side: heads to bytes. Pure.

Hop-by-hop fields are left out (RFC 9110, section 7.6.1), all others pass as they came and in their order:
request ids and trace context among them.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from endpoint_analytics.agents.proxy.framing import Body, ChunkedBody, LengthBody, UntilClose
from endpoint_analytics.agents.proxy.head import RequestHead, ResponseHead

Forwarded = Literal["append", "set", "keep"]
_BODYLESS = frozenset({204, 304})


def request_bytes(head: RequestHead, client: bytes, forwarded: Forwarded) -> bytes:
    """Return the request's head for the upstream; `client` is the address that it came from."""
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
    """Return X-Forwarded-For, -Proto and -Host: ours added to those that came, ours alone, or as they came."""
    came = head.forwarded if forwarded != "set" else {}
    if forwarded == "keep":
        return [b"%s: %s" % (name, value) for name, values in came.items() for value in values]
    before = came.get(b"x-forwarded-for", [])
    return [
        b"X-Forwarded-For: " + b", ".join([*before, client]),
        b"X-Forwarded-Proto: " + came.get(b"x-forwarded-proto", [b"http"])[-1],
        b"X-Forwarded-Host: " + came.get(b"x-forwarded-host", [head.host])[-1],
    ]


def response_bytes(head: ResponseHead, *, closes: bool) -> bytes:
    """Return the response's head for the client, who is told when the connection `closes` after it."""
    lines = [b"HTTP/1.1 %d %s" % (head.status, head.reason), *head.lines]
    if head.status == HTTPStatus.SWITCHING_PROTOCOLS:
        lines += [b"Connection: Upgrade", b"Upgrade: " + head.upgrade]
    elif closes:
        lines.append(b"Connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def refusal_bytes(status: int, reason: str, *, closes: bool, is_head: bool = False) -> bytes:
    """Return a whole response of the proxy's own, in plain text."""
    body = f"{status} {HTTPStatus(status).phrase}: {reason}\n".encode()
    lines = [
        b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()),
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(body),
    ]
    if closes:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", b"" if is_head else body])


def request_body(head: RequestHead) -> Body | None:
    """Return where the request's body ends; None when there is none."""
    if head.is_chunked:
        return ChunkedBody()
    return LengthBody(head.length) if head.length else None


def response_body(head: ResponseHead, method: bytes) -> Body | None:
    """Return where the body of a final response to `method` ends (RFC 9112, section 6.3); None for none."""
    if method == b"HEAD" or head.status in _BODYLESS:
        return None
    if head.is_chunked:
        return ChunkedBody()
    if head.length is None:
        return UntilClose()
    return LengthBody(head.length) if head.length else None
