"""The bound on what a request's head holds: fields, and the bytes of its path.

h11 bounds its bytes alone, and a head of a megabyte may be 200,000 fields, or one path of escapes: each takes the loop
for long parts of a second, and nobody has to be signed in for it.
"""

from __future__ import annotations

import h11
from h11._receivebuffer import ReceiveBuffer

MAX_FIELDS = 256
MAX_PATH_BYTES = 8192


class HeadError(h11.RemoteProtocolError):
    """The head is refused; the text says why."""


class HeadBuffer(ReceiveBuffer):
    """h11's buffer of what was received, which refuses such a head once it is whole."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """The lines of a head; None while they are not all there. Raises HeadError."""
        lines = super().maybe_extract_lines()
        if lines and len(lines) > 1 + MAX_FIELDS:
            raise HeadError(f"the request has more than {MAX_FIELDS} header fields", 431)
        if lines and len(lines[0].partition(b"?")[0]) > MAX_PATH_BYTES:
            raise HeadError(f"the request's path is longer than {MAX_PATH_BYTES} bytes", 431)
        return lines
