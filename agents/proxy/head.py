"""A strict parser for HTTP/1 message heads: only where a head ends, and what it contains. Pure.

An ambiguous head, which two servers could read differently, is refused, never repaired (RFC 9112, sections 2.2, 5.1,
6.1 and 11.2: bare line feeds, folded lines, blanks before a colon, two lengths, a length with a transfer encoding).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from endpoint_analytics.agents.proxy.fields import (
    DESCRIBING,
    FORWARDED,
    SPECIAL,
    TOKEN,
    BadHeadError,
    Fields,
    HeadLimits,
    forwardable_upgrade,
)

_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)(/[^#]*)?(\?[^#]*)?", re.IGNORECASE)
_REQUEST_SPECIAL = SPECIAL | FORWARDED
_RESPONSE_SPECIAL = SPECIAL | DESCRIBING


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """A request head. `lines` are its end-to-end header lines, unchanged, without Host and without CRLF.

    `length` is None without Content-Length; `forwarded` holds X-Forwarded-* values by lower-case name.
    """

    method: bytes
    target: bytes
    minor_version: int
    lines: list[bytes]
    length: int | None
    is_chunked: bool
    wants_close: bool
    upgrade: bytes
    takes_trailers: bool
    host: bytes
    forwarded: dict[bytes, list[bytes]]

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        return self.is_chunked or bool(self.length)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the header fields, with lowercase names: Host first, X-Forwarded-* last."""
        yield b"host", self.host
        for line in self.lines:
            name, _, value = line.partition(b":")
            yield name.lower(), value.strip(b" \t")
        for name, values in self.forwarded.items():
            yield name, b", ".join(values)


class ResponseHead(msgspec.Struct, frozen=True, gc=False):
    """A response head; `lines` as in RequestHead, including those for framing, and those that are `describing`."""

    status: int
    reason: bytes
    minor_version: int
    lines: list[bytes]
    length: int | None
    is_chunked: bool
    wants_close: bool
    upgrade: bytes
    describing: tuple[tuple[bytes, bytes], ...] = ()


def find_end(buffer: bytes, limits: HeadLimits, searched: int = 0) -> int:
    """Return where the head in `buffer` ends, including its empty line; 0 if it is incomplete.

    The first `searched` bytes were searched before. Raises BadHeadError for a head that is too large or has bare line
    feeds.
    """
    end = buffer.find(b"\r\n\r\n", max(searched - 3, 0)) + 4
    if end > limits.head_bytes or (end == 3 and len(buffer) > limits.head_bytes):
        line_end = buffer.find(b"\r\n")
        if line_end < 0 or line_end > limits.head_bytes // 2:
            raise BadHeadError(414, "the request line is too long")
        raise BadHeadError(431, f"the head is larger than {limits.head_bytes} bytes")
    if end == 3:
        if _BARE_LINE_FEED.search(buffer, max(searched - 1, 0)):
            raise BadHeadError(400, "a line ends without a carriage return")
        return 0
    return end


def parse_request(head: bytes, limits: HeadLimits) -> RequestHead:
    """Parse a request head (including its empty line); raises BadHeadError."""
    line, _, block = head[:-2].partition(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadHeadError(400, "the request line is malformed")
    method, target, minor = match[1], match[2], int(match[3])
    fields = Fields(block, limits, _REQUEST_SPECIAL)
    length = fields.length()
    if fields.transfer:
        _check_transfer(fields.transfer, minor)
    if len(fields.hosts) > 1 or (minor and not fields.hosts):
        raise BadHeadError(400, "there must be exactly one Host field")
    host = fields.hosts[0] if fields.hosts else b""
    if not target.startswith(b"/"):
        target, host = _origin(method, target, host)
    connection = fields.connection
    return RequestHead(
        method,
        target,
        minor,
        fields.lines,
        length,
        bool(fields.transfer),
        fields.wants_close(minor) or not minor,
        forwardable_upgrade(fields.upgrade) if b"upgrade" in connection and minor else b"",
        b"trailers" in fields.te,
        host,
        fields.forwarded,
    )


def parse_response(head: bytes, limits: HeadLimits) -> ResponseHead:
    """Parse a response head; raises BadHeadError, whose status is then meaningless."""
    line, _, block = head[:-2].partition(b"\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise BadHeadError(502, "the status line is malformed")
    minor = int(match[1])
    fields = Fields(block, limits, _RESPONSE_SPECIAL)
    length = fields.length()
    if fields.transfer:
        _check_transfer(fields.transfer, minor)
    return ResponseHead(
        int(match[2]),
        match[3] or b"",
        minor,
        fields.lines,
        length,
        bool(fields.transfer),
        fields.wants_close(minor),
        fields.upgrade,
        fields.describing,
    )


def _check_transfer(codings: list[bytes], minor_version: int) -> None:
    if not minor_version:
        raise BadHeadError(400, "Transfer-Encoding in HTTP/1.0")
    if codings != [b"chunked"]:
        raise BadHeadError(501, "a transfer encoding other than chunked")


def _origin(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Return target and host of a request in absolute form (RFC 9112, section 3.2.2), or `OPTIONS *`."""
    if target == b"*" and method == b"OPTIONS":
        return target, host
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadHeadError(400, "the request target is not a path")
    return (match[2] or b"/") + (match[3] or b""), match[1]
