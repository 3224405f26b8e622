"""Heads of HTTP/1 messages: bytes to values, strictly. Pure; where a head ends and what it says, no more.

A head that two servers could read in two ways is refused, never mended (RFC 9112, sections 2.2, 5.1, 6.1 and
11.2: bare line feeds, folded lines, blanks before a colon, two lengths, a length beside an encoding).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELDS = re.compile(rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)(/[^#]*)?(\?[^#]*)?", re.IGNORECASE)
_UNPRINTED = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings",
              b"proxy-authenticate", b"proxy-authorization"}  # fmt: skip

SPECIAL = frozenset(_UNPRINTED | {b"host", b"content-length", b"transfer-encoding"})
FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})
_REQUEST_SPECIAL = SPECIAL | FORWARDED
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding"})


class BadHeadError(Exception):
    """A head that is not passed on: `status` is the answer to a client that sent it, `reason` for people."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Limits(NamedTuple):
    """At most `head_bytes` bytes with the first line, and `fields` lines after it."""

    head_bytes: int = 65_536
    fields: int = 128


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """A request's head. `lines` are its end-to-end header lines as they came, but for Host, without CRLF.

    `length` is None without Content-Length; `forwarded` holds X-Forwarded-* lines by lower-case name.
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
        """Whether bytes follow the head."""
        return self.is_chunked or bool(self.length)


class ResponseHead(msgspec.Struct, frozen=True, gc=False):
    """A response's head; `lines` as in RequestHead, with the framing's."""

    status: int
    reason: bytes
    minor_version: int
    lines: list[bytes]
    length: int | None
    is_chunked: bool
    wants_close: bool
    upgrade: bytes


class _Fields:
    """What the header lines say that a proxy must know; the rest stays as it came."""

    __slots__ = ("connection", "forwarded", "hosts", "lengths", "lines", "te", "transfer", "upgrade")

    def __init__(self, block: bytes, limits: Limits, special: frozenset[bytes]) -> None:
        if not _FIELDS.fullmatch(block):
            raise BadHeadError(400, "a header line is malformed")
        self.lines: list[bytes] = []
        self.lengths: list[bytes] = []
        self.hosts: list[bytes] = []
        self.transfer: list[bytes] = []
        self.connection: list[bytes] = []
        self.upgrade = self.te = b""
        self.forwarded: dict[bytes, list[bytes]] = {}
        lines = block.split(b"\r\n")
        if len(lines) - 1 > limits.fields:
            raise BadHeadError(431, f"more than {limits.fields} header lines")
        for line in lines:
            name = line[: line.find(b":")].lower()
            if name in special:
                self._keep_special(name, line)
            elif line:
                self.lines.append(line)
        if self.connection:
            self._remove_named()

    def _keep_special(self, name: bytes, line: bytes) -> None:
        value = line[len(name) + 1 :].strip(b" \t")
        if name == b"host":
            self.hosts.append(value)
        elif name == b"content-length":
            self.lengths.append(value)
            self.lines.append(line)
        elif name == b"transfer-encoding":
            self.transfer.append(value.lower())
            self.lines.append(line)
        elif name == b"connection":
            self.connection += [word.strip(b" \t") for word in value.lower().split(b",")]
        elif name == b"upgrade":
            self.upgrade = value
        elif name == b"te":
            self.te = value.lower()
        elif name in FORWARDED:
            self.forwarded.setdefault(name, []).append(value)

    def _remove_named(self) -> None:
        """Take out what `Connection` names: it was meant for us alone. The framing is not up to it."""
        named = {word for word in self.connection if word} - _FRAMING
        if named - {b"close", b"keep-alive", b"upgrade", b"te"}:
            self.lines = [line for line in self.lines if line[: line.find(b":")].lower() not in named]
            for name in named & FORWARDED:
                self.forwarded.pop(name, None)

    def length(self) -> int | None:
        if not self.lengths:
            return None
        if len(self.lengths) > 1 or not _LENGTH.fullmatch(self.lengths[0]):
            raise BadHeadError(400, "Content-Length is not one number")
        if self.transfer:
            raise BadHeadError(400, "both Content-Length and Transfer-Encoding")
        return int(self.lengths[0])

    def wants_close(self, minor_version: int) -> bool:
        return b"close" in self.connection or (not minor_version and b"keep-alive" not in self.connection)


def find_end(buffer: bytes, limits: Limits, searched: int = 0) -> int:
    """Return where the head in `buffer` ends, its empty line included; 0 while it does not.

    The first `searched` bytes were looked through before. Raises BadHeadError for a head that is too large
    or has bare line feeds.
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


def parse_request(head: bytes, limits: Limits) -> RequestHead:
    """Return what a request's head says (with its empty line); raises BadHeadError."""
    line, _, block = head[:-2].partition(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadHeadError(400, "the request line is malformed")
    method, target, minor = match[1], match[2], int(match[3])
    fields = _Fields(block, limits, _REQUEST_SPECIAL)
    length = fields.length()
    if fields.transfer:
        _check_transfer(fields.transfer, minor)
    if len(fields.hosts) > 1 or (minor and not fields.hosts):
        raise BadHeadError(400, "there must be one Host")
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
        fields.upgrade if b"upgrade" in connection and minor else b"",
        b"trailers" in fields.te,
        host,
        fields.forwarded,
    )


def parse_response(head: bytes, limits: Limits) -> ResponseHead:
    """Return what a response's head says; raises BadHeadError, whose status then says nothing."""
    line, _, block = head[:-2].partition(b"\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise BadHeadError(502, "the status line is malformed")
    minor = int(match[1])
    fields = _Fields(block, limits, SPECIAL)
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
    )


def are_fields(block: bytes) -> bool:
    """Return whether these are header lines, each with its CRLF, and nothing else."""
    return _FIELDS.fullmatch(block) is not None


def _check_transfer(codings: list[bytes], minor_version: int) -> None:
    if not minor_version:
        raise BadHeadError(400, "Transfer-Encoding in HTTP/1.0")
    if codings != [b"chunked"]:
        raise BadHeadError(501, "a transfer encoding other than chunked")


def _origin(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Return target and host of a request in absolute form (RFC 9112, section 3.2.2), or of `OPTIONS *`."""
    if target == b"*" and method == b"OPTIONS":
        return target, host
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadHeadError(400, "the request target is no path")
    return (match[2] or b"/") + (match[3] or b""), match[1]
