"""The limits on a request's head: the number of fields, and the bytes of its path.

h11 limits only its total bytes, and a head of a megabyte may be 200,000 fields or one path full of escapes. Either
blocks the event loop for a large part of a second, and a client need not be signed in to send it.
"""

from __future__ import annotations

import h11
from h11._receivebuffer import ReceiveBuffer

MAX_FIELDS = 256
MAX_PATH_BYTES = 8192


class HeadError(h11.RemoteProtocolError):
    """The head is refused; the message says why."""


class HeadBuffer(ReceiveBuffer):
    """h11's receive buffer, which also refuses a complete head that exceeds these limits."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Return the lines of a head; None until it is complete. Raises HeadError."""
        lines = super().maybe_extract_lines()
        if lines and len(lines) > 1 + MAX_FIELDS:
            raise HeadError(f"the request has more than {MAX_FIELDS} header fields", 431)
        if lines and len(lines[0].partition(b"?")[0]) > MAX_PATH_BYTES:
            raise HeadError(f"the request path is longer than {MAX_PATH_BYTES} bytes", 431)
        return lines
