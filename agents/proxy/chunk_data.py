"""The data of a chunked body without its framing, for those who read along. Pure.

The proxy forwards a body as it is; this finds what a client makes of it. It is fed what `ChunkedBody` has taken, piece
by piece, which is well-formed (RFC 9112, section 7.1); extensions and trailers are left out.
"""

from __future__ import annotations


class ChunkData:
    """Decodes one body; what is held between pieces is at most a line with a chunk's size."""

    __slots__ = ("_has_ended", "_left", "_line")

    def __init__(self) -> None:
        self._left = 0
        self._line = b""
        self._has_ended = False

    def feed(self, piece: bytes) -> bytes:
        """Return the data in this piece, of one chunk or several; empty if it has none."""
        found = []
        at, end = 0, len(piece)
        while at < end and not self._has_ended:
            if self._left:
                data = piece[at : at + self._left]
                found.append(data)
                at += len(data)
                self._left -= len(data)
                continue
            line_end = piece.find(b"\n", at) + 1
            self._line += piece[at : line_end or end]
            if not line_end:
                break
            at = line_end
            self._read_line(self._line)
            self._line = b""
        return found[0] if len(found) == 1 else b"".join(found)

    def _read_line(self, line: bytes) -> None:
        """Read a line between two chunks: the blank one ends the first, the other has the size of the second."""
        if line != b"\r\n":
            self._left = int(line.partition(b";")[0], 16)
            self._has_ended = not self._left
