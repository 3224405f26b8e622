"""HTTP/1 header lines: what a proxy must know about them, and which ones to forward. Pure.

Ambiguous lines, which two servers could read differently, are refused, never repaired (RFC 9112, sections 5.1, 6.1 and
11.2).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from endpoint_analytics.agents.outcome.watch import TOLD_HEADER

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELDS = re.compile(rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding"})
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings",
                         b"proxy-authenticate", b"proxy-authorization"})  # fmt: skip

DESCRIBING = frozenset({b"content-type", b"content-encoding", TOLD_HEADER})
"""What a response's fields say of its body. They are forwarded like any other; outcome_watch looks at them."""
SPECIAL = _HOP_BY_HOP | _FRAMING
FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})


class BadHeadError(Exception):
    """A head that is not forwarded: `status` is the response to a client that sent it, `reason` explains it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class HeadLimits(NamedTuple):
    """At most `head_bytes` bytes including the first line, and `fields` header lines."""

    head_bytes: int = 65_536
    fields: int = 128


class Fields:
    """The values in a block of header lines that a proxy must know; all other lines stay unchanged.

    `lines` are the ones to forward, including those for framing; `describing` are the DESCRIBING ones if they are
    special, as lowercase names and values. Raises BadHeadError.
    """

    __slots__ = (
        "connection",
        "describing",
        "forwarded",
        "hosts",
        "lengths",
        "lines",
        "te",
        "transfer",
        "upgrade",
    )

    def __init__(self, block: bytes, limits: HeadLimits, special: frozenset[bytes]) -> None:
        if not _FIELDS.fullmatch(block):
            raise BadHeadError(400, "a header line is malformed")
        self.lines: list[bytes] = []
        self.lengths: list[bytes] = []
        self.hosts: list[bytes] = []
        self.transfer: list[bytes] = []
        self.connection: list[bytes] = []
        self.upgrade = self.te = b""
        self.describing: tuple[tuple[bytes, bytes], ...] = ()
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
        if name in DESCRIBING:
            self.lines.append(line)
            self.describing += ((name, value),)
        elif name == b"host":
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
            self.upgrade = self.upgrade + b", " + value if self.upgrade else value
        elif name == b"te":
            self.te = value.lower()
        elif name in FORWARDED:
            self.forwarded.setdefault(name, []).append(value)

    def _remove_named(self) -> None:
        """Remove the fields that `Connection` names: they are hop-by-hop. It cannot remove framing fields."""
        named = {word for word in self.connection if word} - _FRAMING
        if named - {b"close", b"keep-alive", b"upgrade", b"te"}:
            self.lines = [line for line in self.lines if line[: line.find(b":")].lower() not in named]
            for name in named & FORWARDED:
                self.forwarded.pop(name, None)

    def length(self) -> int | None:
        """Return Content-Length, None without one; raises BadHeadError if it is not a single number."""
        if not self.lengths:
            return None
        if len(self.lengths) > 1 or not _LENGTH.fullmatch(self.lengths[0]):
            raise BadHeadError(400, "Content-Length is not a single number")
        if self.transfer:
            raise BadHeadError(400, "both Content-Length and Transfer-Encoding")
        return int(self.lengths[0])

    def wants_close(self, minor_version: int) -> bool:
        """Return whether the connection ends with this message."""
        return b"close" in self.connection or (not minor_version and b"keep-alive" not in self.connection)


def forwardable_upgrade(offered: bytes) -> bytes:
    """Return the protocols of an Upgrade field to forward: all except HTTP/2.

    HTTP/2 applies to one connection, not to the next hop (RFC 9113, section 3.1), and clients offer it with ordinary
    requests; a server that accepted it would speak a protocol that the proxy cannot read, or lose the request's body.
    """
    protocols = [protocol.strip(b" \t") for protocol in offered.split(b",")]
    return b", ".join(one for one in protocols if one and not one.lower().startswith(b"h2"))


def are_fields(block: bytes) -> bool:
    """Return whether the block consists only of header lines, each with its CRLF."""
    return _FIELDS.fullmatch(block) is not None
